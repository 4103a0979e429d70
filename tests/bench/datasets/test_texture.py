from __future__ import annotations

import numpy as np
import pytest

from latentbench.bench.datasets.texture import TEXTURE, Spectrum, gaussian_texture, power
from latentbench.tokenizers.spec import Modality


def white(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0, 3.0])
def test_measured_slope_is_the_stated_one(slope: float) -> None:
    spectrum = Spectrum(slope=slope, low=0.01, high=0.5, amplitude=0.1, shared=0.5)
    image = gaussian_texture(white(200, 1, 64, 64), spectrum)
    measured = (np.abs(np.fft.fft2(image)) ** 2).mean((0, 1))
    fx, fy = np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64), indexing="ij")
    radius = np.hypot(fx, fy)
    inside = (radius > 0.05) & (radius < 0.45)
    fitted = np.polyfit(np.log(radius[inside]), np.log(measured[inside]), 1)[0]
    assert -fitted == pytest.approx(slope, abs=0.05)


@pytest.mark.parametrize("modality", list(Modality))
def test_variance_band_and_channel_correlation(modality: Modality) -> None:
    spectrum = TEXTURE[modality]
    shape = {2: (32, 32), 3: (8, 32, 32), 1: (4096,)}[1 if modality.is_audio else modality.rank]
    channels = 2 if modality.is_audio else 3
    texture = gaussian_texture(white(150, channels, *shape), spectrum)
    assert texture.dtype == np.float32
    assert texture.std() == pytest.approx(spectrum.amplitude, rel=0.02)
    flat = texture.transpose(1, 0, *range(2, texture.ndim)).reshape(channels, -1)
    correlation = np.corrcoef(flat)[np.triu_indices(channels, 1)]
    assert correlation == pytest.approx(np.full(len(correlation), spectrum.shared), abs=0.03)
    axes = tuple(range(2, texture.ndim))
    measured = (np.abs(np.fft.fftn(texture, axes=axes)) ** 2).mean((0, 1))
    expected = power(spectrum, shape)
    outside = expected == 0
    assert outside.any()
    assert measured[outside].max() < 1e-6 * measured.max()


def test_expected_power_is_the_measured_one() -> None:
    spectrum = TEXTURE[Modality.VIDEO]
    texture = gaussian_texture(white(400, 1, 8, 16, 16), spectrum)
    measured = (np.abs(np.fft.fftn(texture, axes=(2, 3, 4))) ** 2).mean((0, 1)) / (8 * 16 * 16)
    expected = power(spectrum, (8, 16, 16))
    # Each coefficient is an average of at least 400 exponential variables: 5 % standard error.
    ratio = measured[expected > 0] / expected[expected > 0]
    assert ratio.mean() == pytest.approx(1.0, abs=0.01)
    assert 0.7 < ratio.min() <= ratio.max() < 1.4
