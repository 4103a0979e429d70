from __future__ import annotations

import numpy as np
import pytest
import torch

from latentbench.tasks.proxies.interface import ProxyInput, compute
from latentbench.tasks.proxies.neighbours import local_correlation, neighbour_offsets


def autoregressive(shape: tuple[int, ...], rhos: tuple[float, ...]) -> torch.Tensor:
    """White noise given AR(1) correlation rho^|distance| along each grid axis by the root of its covariance."""
    z = torch.randn(shape)
    for axis, rho in enumerate(rhos, start=2):
        index = np.arange(shape[axis])
        root = np.linalg.cholesky(rho ** np.abs(index[:, None] - index[None]))
        z = (z.transpose(axis, -1) @ torch.from_numpy(root).float().t()).transpose(axis, -1)
    return z


def test_white_latents_have_none() -> None:
    metric = compute("local_correlation", ProxyInput.of(torch.randn(3000, 3, 4, 4)))[0]
    assert metric.value == pytest.approx(0, abs=0.006)
    assert metric.interval is not None
    assert metric.interval[0] < 0 < metric.interval[1]


def test_a_line_has_its_autocorrelation() -> None:
    z = autoregressive((2000, 2, 16), (0.7,))
    assert local_correlation(z) == pytest.approx(0.7, abs=0.01)


def test_a_plane_averages_the_six_pairs_of_its_blocks() -> None:
    z = autoregressive((2000, 2, 8, 8), (0.8, 0.5))
    assert local_correlation(z) == pytest.approx((2 * 0.8 + 2 * 0.5 + 2 * 0.4) / 6, abs=0.01)


def test_a_volume_averages_the_28_pairs_of_its_blocks() -> None:
    a, b, c = 0.9, 0.5, 0.3
    z = autoregressive((1000, 1, 6, 6, 6), (a, b, c))
    expected = 4 * (a + b + c + a * b + a * c + b * c + a * b * c) / 28
    assert local_correlation(z) == pytest.approx(expected, abs=0.01)
    assert sum(neighbour_offsets((6, 6, 6)).values()) == 28


def test_axes_of_length_one_are_not_crossed() -> None:
    z = autoregressive((2000, 1, 1, 16), (0.5, 0.6))
    assert neighbour_offsets((1, 16)) == {(0, 1): 1}
    assert local_correlation(z) == pytest.approx(0.6, abs=0.02)


def test_a_permutation_of_positions_lowers_it() -> None:
    z = autoregressive((200, 2, 8, 8), (0.7, 0.7))
    scrambled = z.flatten(2)[..., torch.randperm(64)].view_as(z)
    assert local_correlation(scrambled) < 0.6 * local_correlation(z)


def test_one_position_has_no_neighbours() -> None:
    assert compute("local_correlation", ProxyInput.of(torch.randn(9, 4, 1, 1)))[0].value is None
    with pytest.raises(ValueError, match="two positions"):
        local_correlation(torch.randn(9, 4, 1))
