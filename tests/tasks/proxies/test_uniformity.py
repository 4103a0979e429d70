from __future__ import annotations

import pytest
import torch

from latentbench.tasks.proxies.interface import ProxyInput, compute
from latentbench.tasks.proxies.uniformity import gini, variation


def test_a_normal_plane_has_its_closed_form() -> None:
    n = 4000
    z = torch.randn(n, 2, 1) * torch.tensor([1.0, 3.0]).view(2, 1)
    spread, inequality = compute("uniformity", ProxyInput.of(z))
    # Smoothed by kernels of width h the density at a point is u^a with u uniform and a = 1/(1 + h²).
    a = 1 / (1 + n ** (-1 / 3))
    mean, square = 1 / (1 + a), 1 / (1 + 2 * a)
    assert spread.value == pytest.approx((square - mean**2) ** 0.5 / mean, abs=0.015)
    assert inequality.value == pytest.approx(a / (a + 2), abs=0.01)  # of the Lorenz curve p^(a + 1)


def test_a_square_is_filled_more_evenly_than_clusters() -> None:
    square = torch.rand(2000, 2, 1)
    clusters = torch.randn(2000, 2, 1) * 0.05 + (torch.arange(2000) % 10 // 9).view(-1, 1, 1) * 3
    for even, uneven in zip(
        compute("uniformity", ProxyInput.of(square)), compute("uniformity", ProxyInput.of(clusters)), strict=True
    ):
        assert even.value < 0.75 * uneven.value


def test_known_values() -> None:
    assert gini(torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64)) == pytest.approx(0.75)
    assert gini(torch.ones(5, dtype=torch.float64)) == pytest.approx(0)
    assert variation(torch.tensor([1.0, 3.0])) == pytest.approx(0.5)
