from __future__ import annotations

import pytest
import torch

from latentbench.tasks.proxies.interface import ProxyInput, compute
from latentbench.tasks.proxies.intrinsic_dimension import two_nearest, two_nn


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_a_set_of_known_dimension_has_it_in_any_space(dimension: int) -> None:
    # A torus has no border: a product of circles in 2 x dimension coordinates, turned into 64.
    angles = 2 * torch.pi * torch.rand(2000, dimension)
    torus = torch.cat([angles.cos(), angles.sin()], 1)
    z = (torus @ torch.linalg.qr(torch.randn(64, 64))[0][: 2 * dimension]).view(2000, 4, 4, 4)
    latents = ProxyInput(values=z, mean=torch.zeros(4), std=torch.ones(4))
    (metric,) = compute("intrinsic_dimension", latents)
    assert metric.value == pytest.approx(dimension, abs=4 * metric.se)
    assert metric.se == pytest.approx(dimension / 1000**0.5, rel=0.1)


def test_the_standard_error_covers() -> None:
    hits = 0
    for seed in range(100):
        angles = 2 * torch.pi * torch.rand(200, 2, generator=torch.Generator().manual_seed(seed))
        value, se = two_nn(two_nearest(torch.cat([angles.cos(), angles.sin()], 1)))
        hits += abs(value - 2) <= 1.96 * se
    assert hits >= 91


def test_repeats_are_left_out() -> None:
    x = torch.rand(50, 3)
    repeated = torch.cat([x, x[:10]])
    nearest = two_nearest(repeated)
    assert int((nearest[:, 0] == 0).sum()) == 20
    assert two_nn(nearest)[0] == two_nn(nearest[nearest[:, 0] > 0])[0]
