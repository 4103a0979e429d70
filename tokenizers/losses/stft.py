"""Spectral distances between waveforms: multi-resolution STFT and log-mel. Differentiable; used as losses and metrics.

Shape legend: B batch, C channels, N samples, F frequency bins, M mel bins, T frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from ...results.errors import UserError
from ..spec import MelSpec, SignalSpec
from .base import Loss
from .stft_config import MelConfig

SIZES: tuple[tuple[int, int], ...] = ((512, 128), (1024, 256), (2048, 512))
# Power below which a bin counts as empty; float32 noise of a full-scale tone lies above it.
FLOOR_POWER = 1e-8
# Root mean square (-60 dB of full scale) below which a target counts as that loud in the spectral convergence.
SILENCE = 1e-3


class MultiResolutionSTFT(Loss):
    """See `multi_resolution_stft`, at its default resolutions."""

    def __call__(self, reconstruction: Tensor, signal: Tensor) -> Tensor:
        return multi_resolution_stft(reconstruction, signal)


class LogMelLoss(Loss):
    """See `log_mel_distance`, at the signal's sample rate."""

    def __init__(self, config: MelConfig, signal: SignalSpec) -> None:
        super().__init__(config, signal)
        self.mel = MelSpec(sample_rate=int(signal.rate or 16000))

    def __call__(self, reconstruction: Tensor, signal: Tensor) -> Tensor:
        return log_mel_distance(reconstruction, signal, mel=self.mel)


def fit_sizes(length: int, sizes: Sequence[tuple[int, int]] = SIZES) -> tuple[tuple[int, int], ...]:
    """The (window, hop) pairs, in samples, used on signals of `length` samples.

    A window longer than the signal is halved, its hop with it, until it fits; duplicates are dropped. Raises UserError
    for signals under 4 samples.
    """
    if length < 4:
        raise UserError(f"spectral distances need at least 4 samples, got {length}")
    fitted = []
    for window, hop in sizes:
        while window > length:
            window, hop = window // 2, max(1, hop // 2)
        fitted.append((window, hop))
    return tuple(dict.fromkeys(fitted))


def magnitudes(x: Tensor, sizes: Sequence[tuple[int, int]] = SIZES) -> tuple[Tensor, ...]:
    """`[B, C, N]` to magnitude spectra `[B, C, F, T]`, one per resolution, not below 1e-4 (where the gradient is 0).

    Those of a target can be computed once and passed to `multi_resolution_stft` many times.
    """
    return tuple(_power(x, window, hop).sqrt() for window, hop in fit_sizes(x.shape[-1], sizes))


def multi_resolution_stft(
    x: Tensor,
    y: Tensor,
    *,
    sizes: Sequence[tuple[int, int]] = SIZES,
    target: Sequence[Tensor] | None = None,
) -> Tensor:
    """Spectral convergence plus log-magnitude L1, averaged over resolutions: `[B, C, N]` twice to `[B]`.

    Parallel WaveGAN (Yamamoto et al. 2020, eqs. 4-6): ‖|Y| - |X|‖_F / ‖|Y|‖_F + mean |ln|Y| - ln|X||, with x the
    estimate and y the target, norms and means taken within each sample over channels, bins and frames. Periodic Hann
    windows of the FFT's length, centred frames with reflected edges. Two additions keep it finite: magnitudes are at
    least 1e-4, and a target quieter than -60 dB of full scale counts as that loud in the first term's denominator.

    `sizes` are (window, hop) pairs, shortened for short signals as `fit_sizes` says. `target` are y's `magnitudes`
    where they are known already. Raises UserError on different shapes.
    """
    if x.shape != y.shape or x.ndim != 3:
        raise UserError(f"waveforms must be [B, C, N] of one shape, got {list(x.shape)} and {list(y.shape)}")
    fitted = fit_sizes(x.shape[-1], sizes)
    if target is None:
        target = magnitudes(y, sizes)
    total = x.new_zeros(len(x))
    for (window, hop), y_BCFT in zip(fitted, target, strict=True):
        x_BCFT = _power(x, window, hop).sqrt()
        difference = torch.linalg.vector_norm((y_BCFT - x_BCFT).flatten(1), dim=1)
        loudness = torch.linalg.vector_norm(y_BCFT.flatten(1), dim=1)
        # White noise of deviation s has E|Y|² = s² Σ window² = s² 3/8 window in every bin.
        quietest = SILENCE * math.sqrt(0.375 * window * y_BCFT[0].numel())
        logs = (y_BCFT.log() - x_BCFT.log()).abs().flatten(1).mean(1)
        total = total + difference / loudness.clamp_min(quietest) + logs
    return total / len(fitted)


def log_mel(x: Tensor, *, mel: MelSpec) -> Tensor:
    """`[B, C, N]` to the natural log of mel magnitudes, ½ ln(mel power), `[B, C, M, T]`.

    Triangular filters, HTK mel scale, not area-normalised (torchaudio's default); powers are floored at `floor_db`.
    """
    power = _power(x, mel.n_fft, mel.hop, floor=0.0)
    return (
        torch.matmul(_placed_filters(mel, power.device, power.dtype), power).clamp_min(10 ** (mel.floor_db / 10)).log()
        * 0.5
    )


def log_mel_distance(x: Tensor, y: Tensor, *, mel: MelSpec, target: Tensor | None = None) -> Tensor:
    """Mean |Δ log-mel magnitude| in nepers (1 = 8.686 dB): `[B, C, N]` twice to `[B]`.

    `target` is y's `log_mel` where it is known already. Raises UserError on different shapes.
    """
    if x.shape != y.shape or x.ndim != 3:
        raise UserError(f"waveforms must be [B, C, N] of one shape, got {list(x.shape)} and {list(y.shape)}")
    if target is None:
        target = log_mel(y, mel=mel)
    return (log_mel(x, mel=mel) - target).abs().flatten(1).mean(1)


# Not in inference mode: the cached tensor may be needed for a gradient later.
@lru_cache(maxsize=16)
@torch.inference_mode(False)
def mel_filters(mel: MelSpec) -> Tensor:
    """The triangular mel filters `[M, F]`, HTK scale: 2595 log10(1 + f / 700). Raises UserError on a bad range."""
    top = mel.sample_rate / 2 if mel.f_max is None else mel.f_max
    if not 0 <= mel.f_min < top <= mel.sample_rate / 2:
        raise UserError(f"mel range {mel.f_min:g}-{top:g} Hz must lie within 0-{mel.sample_rate / 2:g} Hz")
    low, high = (2595 * math.log10(1 + f / 700) for f in (mel.f_min, top))
    edges = 700 * (10 ** (torch.linspace(low, high, mel.n_mels + 2, dtype=torch.float64) / 2595) - 1)
    bins = torch.linspace(0, mel.sample_rate / 2, mel.n_fft // 2 + 1, dtype=torch.float64)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return torch.minimum(rising, falling).clamp_min(0).float()


# Copied to a device once: a copy in every step would synchronise with it.
@lru_cache(maxsize=32)
@torch.inference_mode(False)
def _placed_filters(mel: MelSpec, device: torch.device, dtype: torch.dtype) -> Tensor:
    return mel_filters(mel).to(device, dtype)


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def _hann(window: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.hann_window(window, device=device, dtype=dtype)


def _power(x_BCN: Tensor, window: int, hop: int, *, floor: float = FLOOR_POWER) -> Tensor:
    """Power spectra `[B, C, F, T]`. Autocast is kept out: an FFT has no bfloat16."""
    with torch.autocast(x_BCN.device.type, enabled=False):
        x = x_BCN if x_BCN.dtype == torch.float64 else x_BCN.float()
        spectrum = torch.stft(
            x.flatten(0, 1),
            window,
            hop,
            window=_hann(window, x.device, x.dtype),
            pad_mode="reflect" if x.shape[-1] > window // 2 else "constant",
            return_complex=True,
        )
        parts = torch.view_as_real(spectrum)
        power = parts.square().sum(-1)
        power = power.clamp_min(floor) if floor > 0 else power
        return power.view(*x.shape[:2], *power.shape[1:])
