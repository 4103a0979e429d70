"""Cosine transforms, bands, low passes and shifts: closed forms, and scipy as a second implementation."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.fft import dctn

from latentbench.tokenizers.regularisers.spectral import band_power, dct, fourier_shift, low_pass, radii


@pytest.mark.parametrize("shape", [(9,), (4, 6), (2, 3, 5)])
def test_the_transform_is_scipys_and_its_inverse_undoes_it(shape: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, *shape)
    expected = torch.from_numpy(dctn(x.numpy(), axes=tuple(range(2, x.ndim)), norm="ortho"))
    torch.testing.assert_close(dct(x), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(dct(dct(x), inverse=True), x, atol=1e-5, rtol=0)


def test_white_noise_has_its_variance_in_every_band_and_a_cosine_in_one() -> None:
    noise = 3 * torch.randn(500, 2, 16, 16)
    torch.testing.assert_close(band_power(noise, 4), torch.full((4,), 9.0), rtol=0.05, atol=0)
    place = torch.arange(32.0) + 0.5
    cosine = (math.pi / 32 * 20 * place).cos().view(1, 1, 32)
    power = band_power(cosine, 4)  # 20 of 32 lies in the third quarter, which has 8 coefficients
    torch.testing.assert_close(power, torch.tensor([0.0, 0.0, 16 / 8, 0.0]), atol=1e-4, rtol=0)


def test_a_low_pass_takes_what_lies_above_and_nothing_else() -> None:
    x = torch.randn(3, 2, 8, 4)
    torch.testing.assert_close(low_pass(x, 1.0), x, atol=1e-5, rtol=0)
    passed = low_pass(x, 0.5)
    above = radii((8, 4)) > 0.5
    assert dct(passed)[..., above].abs().max().item() < 1e-5
    torch.testing.assert_close(dct(passed)[..., ~above], dct(x)[..., ~above], atol=1e-5, rtol=0)


def test_a_shift_is_exact_for_whole_lengths_and_for_waves() -> None:
    x = torch.randn(2, 3, 8, 7)
    torch.testing.assert_close(fourier_shift(x, 3, -1), x.roll(3, -1), atol=1e-5, rtol=0)
    torch.testing.assert_close(fourier_shift(x, -2, 2), x.roll(-2, 2), atol=1e-5, rtol=0)
    place = torch.arange(16.0)
    wave = (2 * math.pi * 3 / 16 * place).sin()
    moved = (2 * math.pi * 3 / 16 * (place - 0.3)).sin()
    torch.testing.assert_close(fourier_shift(wave.view(1, 1, -1), 0.3, -1)[0, 0], moved, atol=1e-5, rtol=0)
