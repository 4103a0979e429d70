from __future__ import annotations

import math

import pytest
import torch

from latentbench.tasks.proxies.interface import ProxyInput, compute
from latentbench.tasks.proxies.predictability import causal_offsets, neighbourhoods


def test_only_what_comes_before_is_read() -> None:
    assert causal_offsets((4, 4)) == [(-1, -1), (-1, 0), (-1, 1), (0, -1)]
    assert causal_offsets((1, 9)) == [(0, -1)]
    assert len(causal_offsets((3, 3, 3))) == 13
    z = torch.arange(12.0).view(1, 1, 3, 4) + 1
    rows = neighbourhoods(z)[0]
    assert rows[5].tolist() == [6, 1, 2, 3, 5]  # position (1, 1): itself, then the row above, then the left
    assert rows[0].tolist() == [1, 0, 0, 0, 0]
    assert rows[7].tolist() == [8, 3, 4, 0, 7]  # nothing beyond the right border


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.95])
def test_an_autoregression_has_its_information(rho: float) -> None:
    steps, n = 100, 2000
    z = torch.randn(n, 2, steps)
    for t in range(1, steps):
        z[..., t] = rho * z[..., t - 1] + math.sqrt(1 - rho**2) * z[..., t]
    (metric,) = compute("predictability", ProxyInput.of(z))
    # The first position of every sequence has no neighbour, and an error of 1.
    error = ((steps - 1) * (1 - rho**2) + 1) / steps
    assert metric.value == pytest.approx(-0.5 * math.log2(error), abs=0.01)
    assert metric.unit == "bit"


def test_noise_is_not_fitted() -> None:
    (metric,) = compute("predictability", ProxyInput.of(torch.randn(40, 32, 4, 4)))
    assert metric.value == pytest.approx(0, abs=0.01)


def test_too_many_neighbours_are_withheld() -> None:
    (metric,) = compute("predictability", ProxyInput.of(torch.randn(20, 600, 2, 2)))
    assert metric.value is None
