from __future__ import annotations

import numpy as np
import pytest
import torch

from latentbench.tasks.proxies.correlation_decay import cosines_by_distance
from latentbench.tasks.proxies.interface import ProxyInput, compute


def test_it_is_the_slope_of_the_means_over_pairs() -> None:
    z = torch.randn(30, 3, 3, 4).cumsum(3)
    vectors = {(y, x): z[:, :, y, x] for y in range(3) for x in range(4)}
    rings: dict[int, list[torch.Tensor]] = {1: [], 2: []}  # the largest distance is 5
    for (y, x), a in vectors.items():
        for (v, u), b in vectors.items():
            if (apart := abs(y - v) + abs(x - u)) in rings:
                rings[apart].append(torch.cosine_similarity(a, b))
    expected = torch.stack([torch.stack(ring).mean(0) for ring in rings.values()], 1)
    torch.testing.assert_close(cosines_by_distance(z).float(), expected)
    latents = ProxyInput(values=z, mean=torch.zeros(3), std=torch.ones(3))
    (metric,) = compute("correlation_decay", latents)
    slope = np.polyfit([1, 2], expected.double().mean(0).numpy(), 1)[0]
    assert metric.value == pytest.approx(-slope, rel=1e-5)


def test_a_line_whose_correlation_falls_by_the_step_has_that_slope() -> None:
    # Sums of m independent vectors, the next one step on: the correlation at distance d is 1 - d/m.
    m, length = 10, 17
    noise = torch.randn(2000, 256, length + m - 1)
    z = torch.stack([noise[..., start : start + m].sum(-1) for start in range(length)], -1)
    (metric,) = compute("correlation_decay", ProxyInput.of(z))
    assert metric.value == pytest.approx(1 / m, abs=0.005)
    assert metric.interval is not None
    assert metric.interval[1] - metric.interval[0] < 0.01


def test_white_latents_do_not_decay() -> None:
    (metric,) = compute("correlation_decay", ProxyInput.of(torch.randn(1000, 16, 6, 6)))
    assert metric.value == pytest.approx(0, abs=4 * metric.se)


def test_a_small_grid_has_no_slope() -> None:
    (metric,) = compute("correlation_decay", ProxyInput.of(torch.randn(20, 3, 2, 3)))
    assert metric.value is None
