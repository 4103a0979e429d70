"""Texture with known statistics: stationary Gaussian noise with a stated power spectrum. Numpy alone.

The noise is made from white noise in the Fourier domain, so it is periodic over the sample and its expected power
spectrum is the stated one exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...tokenizers.spec import Modality


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """A texture's power spectrum, P(f) ~ f ** -slope for frequencies in [low, high], else 0.

    `f` is the radial spatial frequency in cycles per pixel (images, video) or the frequency in cycles per sample
    (sound). In video P is multiplied by 1 / (1 + (f_t / corner) ** 2), with f_t in cycles per frame. `amplitude` is
    the standard deviation in units of [-1, 1]; `shared` the share of the variance that all channels have in common.
    """

    slope: float
    low: float
    high: float
    amplitude: float
    shared: float
    corner: float | None = None


TEXTURE: dict[Modality, Spectrum] = {
    Modality.IMAGE: Spectrum(slope=2.0, low=0.01, high=0.5, amplitude=0.12, shared=0.75),
    Modality.VIDEO: Spectrum(slope=2.0, low=0.01, high=0.5, amplitude=0.12, shared=0.75, corner=0.1),
    Modality.WAVEFORM: Spectrum(slope=1.0, low=0.002, high=0.45, amplitude=0.05, shared=0.75),
    Modality.SPECTROGRAM: Spectrum(slope=1.0, low=0.002, high=0.45, amplitude=0.05, shared=0.75),
}


def power(spectrum: Spectrum, shape: tuple[int, ...]) -> np.ndarray:
    """The expected power of each Fourier coefficient of a sample of `shape`, for the full transform, with mean
    `amplitude` ** 2 (so that is the variance)."""
    axes = [np.fft.fftfreq(n) for n in shape]
    spatial = axes[1:] if spectrum.corner is not None else axes
    grids = np.meshgrid(*spatial, indexing="ij")
    radius = np.sqrt(sum(g**2 for g in grids))
    inside = (radius >= spectrum.low) & (radius <= spectrum.high) & (radius > 0)
    density = np.where(inside, np.where(inside, radius, 1.0) ** -spectrum.slope, 0.0)
    if spectrum.corner is not None:
        temporal = 1.0 / (1.0 + (axes[0] / spectrum.corner) ** 2)
        density = temporal.reshape(-1, *([1] * density.ndim)) * density
    mean = density.mean()
    return density * (spectrum.amplitude**2 / mean) if mean > 0 else density


def gaussian_texture(white: np.ndarray, spectrum: Spectrum) -> np.ndarray:
    """White noise `[B, C, *shape]` (float32, unit variance) to texture of the same shape with the given spectrum."""
    shape = white.shape[2:]
    gain = np.sqrt(power(spectrum, shape))[..., : shape[-1] // 2 + 1].astype(np.float32)
    if white.shape[1] > 1:
        common = white.mean(axis=1, keepdims=True) * np.float32(np.sqrt(white.shape[1]))
        own = white - white.mean(axis=1, keepdims=True)
        # `own` has variance 1 - 1/C and correlation -1/(C-1) between channels; both are corrected for.
        n = white.shape[1]
        white = np.float32(np.sqrt(spectrum.shared + (1 - spectrum.shared) / n)) * common + own * np.float32(
            np.sqrt(1 - spectrum.shared)
        )
    axes = tuple(range(2, white.ndim))
    return np.fft.irfftn(np.fft.rfftn(white, axes=axes) * gain, s=shape, axes=axes).astype(np.float32, copy=False)
