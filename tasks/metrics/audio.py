"""Distances between waveforms that need no weights: SI-SDR, multi-resolution STFT, log-mel."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...results.errors import UserError
from ...tokenizers.losses.stft import fit_sizes, log_mel_distance, multi_resolution_stft
from ...tokenizers.spec import MelSpec, SignalSpec
from .interface import PairMetric, where_finite
from .precision import full_precision

CAP_DB = 100.0
_DB_PER_NEPER = 20 / math.log(10)


@torch.no_grad()
def si_sdr(estimate: Tensor, target: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019, eq. 5): `[B, C, N]` twice to `[B]`.

    10 log10(‖αs‖² / ‖αs - ŝ‖²) with α = ŝᵀs / ‖s‖², one α for all channels; each channel's mean is removed first. A
    silent (constant) target gives NaN: the ratio is undefined and counts as missing. Kept within ±100 dB, so that a
    perfect estimate and a silent one have values. Raises UserError on different shapes.
    """
    if estimate.shape != target.shape or target.ndim != 3:
        raise UserError(f"si_sdr: waveforms must be [B, C, N], got {list(estimate.shape)} and {list(target.shape)}")
    estimate, target = ((x.double() - x.double().mean(-1, keepdim=True)).flatten(1) for x in (estimate, target))
    energy = target.square().sum(1)
    projection = (estimate * target).sum(1) / energy
    signal = projection.square() * energy
    noise = (projection[:, None] * target - estimate).square().sum(1)
    smallest = 10 ** (-CAP_DB / 10)
    ratio = 10 * torch.log10(signal / noise)
    ratio = torch.where(signal <= smallest * noise, -CAP_DB, ratio.clamp(max=CAP_DB))
    # A mean removed in floating point leaves a residue: 1e-20 is far below the least significant bit of any format.
    silent = energy <= 1e-20 * target.shape[1]
    return torch.where(silent, torch.nan, ratio)


@torch.no_grad()
def stft_distance(x: Tensor, y: Tensor) -> Tensor:
    """Multi-resolution STFT distance of estimate x from target y: `[B, C, N]` twice to `[B]`."""
    with full_precision():
        return multi_resolution_stft(x, y)


@torch.no_grad()
def mel_distance(x: Tensor, y: Tensor, *, mel: MelSpec) -> Tensor:
    """Mean absolute difference of log-mel spectra in dB: `[B, C, N]` twice to `[B]`."""
    with full_precision():
        return log_mel_distance(x, y, mel=mel) * _DB_PER_NEPER


def metric_mel(signal: SignalSpec) -> MelSpec:
    """The mel spectrum that `mel_distance` is measured on: that of the spectrograms, else 80 bins over 64 ms windows
    with a hop of a quarter, at the signal's rate. Raises UserError for a signal without a rate."""
    if signal.mel is not None:
        return signal.mel
    if signal.rate is None:
        raise UserError("mel_distance needs the signal's sample rate")
    window = 2 ** round(math.log2(0.064 * signal.rate))
    return MelSpec(sample_rate=round(signal.rate), n_mels=80, n_fft=window, hop=window // 4)


class SiSdr(PairMetric):
    """See `SiSdrConfig`."""

    def values(self, reconstruction: Tensor, original: Tensor, signal: SignalSpec) -> Tensor:
        return where_finite(si_sdr(reconstruction, original), reconstruction, original)

    def protocol(self, signal: SignalSpec) -> str:
        return (
            f"mean over clips; zero mean per channel, one scale for all channels; within ±{CAP_DB:.0f} dB; "
            "silent targets missing"
        )


class StftDistance(PairMetric):
    """See `StftDistanceConfig`."""

    def values(self, reconstruction: Tensor, original: Tensor, signal: SignalSpec) -> Tensor:
        return where_finite(stft_distance(reconstruction, original), reconstruction, original)

    def protocol(self, signal: SignalSpec) -> str:
        length = signal.source_shape[-1] if signal.source_shape is not None else signal.shape[-1]
        sizes = ", ".join(f"{window}/{hop}" for window, hop in fit_sizes(length))
        return f"spectral convergence + log-magnitude L1 (natural log), mean over Hann windows/hops {sizes} and clips"


class MelDistance(PairMetric):
    """See `MelDistanceConfig`."""

    def values(self, reconstruction: Tensor, original: Tensor, signal: SignalSpec) -> Tensor:
        values = mel_distance(reconstruction, original, mel=metric_mel(signal))
        return where_finite(values, reconstruction, original)

    def protocol(self, signal: SignalSpec) -> str:
        mel = metric_mel(signal)
        top = mel.sample_rate / 2 if mel.f_max is None else mel.f_max
        return (
            f"mean absolute log-mel difference; {mel.n_mels} HTK mel bins of {mel.f_min:g}-{top:g} Hz at "
            f"{mel.sample_rate} Hz, Hann {mel.n_fft}/{mel.hop}, floor {mel.floor_db:g} dB; mean over clips"
        )
