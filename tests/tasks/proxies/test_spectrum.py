from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import fft

from latentbench.tasks.proxies.interface import ProxyInput, compute
from latentbench.tasks.proxies.spectrum import band_energies, dct, high_frequencies


# 300 and 511 go by FFT, the others by matrix.
@pytest.mark.parametrize("grid", [(17,), (300,), (511,), (8, 6), (1, 9), (3, 4, 5), (2, 300)])
def test_dct_equals_scipy(grid: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, *grid)
    expected = fft.dctn(x.double().numpy(), axes=tuple(range(2, x.ndim)), norm="ortho")
    np.testing.assert_allclose(dct(x, len(grid)), expected, atol=2e-5)


def test_the_band_is_the_triangle_of_the_definition() -> None:
    for size in (4, 7, 8, 13):
        u, v = np.mgrid[:size, :size]
        for rho in (0.25, 0.5):
            np.testing.assert_array_equal(high_frequencies((size, size), rho), u + v > rho * 2 * (size - 1))
    assert high_frequencies((1, 5), 0.5).tolist() == [[False, False, False, True, True]]


@pytest.mark.parametrize("grid", [(32,), (8, 8), (4, 6, 5)])
def test_white_latents_have_the_share_of_the_coefficients(grid: tuple[int, ...]) -> None:
    z = torch.randn(4000, 2, *grid)
    for metric, rho in zip(compute("high_frequency_share", ProxyInput.of(z)), (0.25, 0.5), strict=True):
        assert metric.value == pytest.approx(float(high_frequencies(grid, rho).double().mean()), abs=0.006)
        assert 0 < metric.se < 0.006


def test_a_single_cosine_lies_where_its_frequency_is() -> None:
    rows = torch.cos(torch.pi / 16 * 6 * (torch.arange(16) + 0.5))
    z = rows.view(1, 1, 16).expand(3, 1, 16)
    below, above, everything = band_energies(z, (0.39, 0.41)).sum(0).tolist()
    assert below == pytest.approx(everything, rel=1e-6)
    assert above == pytest.approx(0, abs=1e-6)


def test_smoothing_lowers_it() -> None:
    z = torch.randn(50, 4, 16, 16)
    smooth = torch.nn.functional.avg_pool2d(z, 3, 1, 1)
    rough, fine = (compute("high_frequency_share", ProxyInput.of(x))[1].value for x in (z, smooth))
    assert fine < 0.5 * rough


def test_one_position_has_no_frequency() -> None:
    assert [m.value for m in compute("high_frequency_share", ProxyInput.of(torch.randn(9, 4, 1, 1)))] == [None, None]
