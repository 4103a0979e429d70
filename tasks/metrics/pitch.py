"""Pitch by YIN (de Cheveigné and Kawahara 2002), and how far a reconstruction's is from its original's.

Shape legend: B batch, C channels, N samples, T frames, W samples of a window, L lags.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...tokenizers.spec import SignalSpec
from .config import LOWEST_PITCH, sound_rate
from .interface import PairMetric, check_waves, where_finite

HIGHEST_PITCH = 500.0  # Hz
THRESHOLD = 0.1  # of the normalised difference, below which a lag is a period
_HOP_SECONDS = 0.01


def pitch(wave: Tensor, rate: int) -> Tensor:
    """Hz of each frame, 10 ms apart, of clips `[B, N]`: `[B, T]` float64, NaN where a frame has no period.

    The period is the lag at the first dip of the cumulative mean normalised difference (eq. 8) below 0.1, between 1/500
    and 1/60 s, over windows of 1/60 s, refined by a parabola through the dip. Clips of less than 2/60 s have no frame.
    """
    longest, shortest = int(rate / LOWEST_PITCH), int(rate / HIGHEST_PITCH)
    if wave.shape[-1] < 2 * longest + 1:
        return wave.new_empty((len(wave), 0), dtype=torch.float64)
    normalised = _normalised_difference(wave, rate, longest + 1)
    lower, middle, upper = normalised[..., :-2], normalised[..., 1:-1], normalised[..., 2:]
    dips = (middle < THRESHOLD) & (middle < lower) & (middle <= upper)
    dips[..., : shortest - 1] = False
    first = dips.to(torch.uint8).argmax(-1, keepdim=True)
    before, at, after = (values.gather(-1, first)[..., 0] for values in (lower, middle, upper))
    offset = (before - after) / (2 * (before - 2 * at + after)).clamp_min(1e-12)
    hertz = rate / (first[..., 0] + 1 + offset)
    return torch.where(dips.any(-1), hertz, torch.nan)


def _normalised_difference(wave: Tensor, rate: int, lags: int) -> Tensor:
    """`[B, T, L + 1]`: eq. 8 for lags of 0 to L samples, 1 at lag 0."""
    size = lags - 1
    frames = wave.double().unfold(-1, size + lags, round(_HOP_SECONDS * rate))  # [B, T, W + L]
    length = 1 << (2 * size + lags).bit_length()
    spectrum = torch.fft.rfft(frames, length)
    window = torch.fft.rfft(frames[..., :size], length)
    product = torch.fft.irfft(spectrum * window.conj(), length)[..., : lags + 1]
    sums = torch.nn.functional.pad(frames.square().cumsum(-1), (1, 0))
    energy = sums[..., size : size + lags + 1] - sums[..., : lags + 1]
    difference = (energy[..., :1] + energy - 2 * product).clamp_min(0)
    steps = torch.arange(1, lags + 1, dtype=torch.float64, device=wave.device)
    mean = difference[..., 1:].cumsum(-1) / steps
    # Without energy there is no period: as if all lags were alike.
    normalised = torch.where(mean > 1e-12 * size, difference[..., 1:] / mean.clamp_min(1e-300), 1.0)
    return torch.nn.functional.pad(normalised, (1, 0), value=1.0)


class PitchError(PairMetric):
    """See `PitchErrorConfig`."""

    def values(self, reconstruction: Tensor, original: Tensor, signal: SignalSpec) -> Tensor:
        check_waves(self.config.kind, reconstruction, original)
        rate = sound_rate(signal)
        pairs = zip(reconstruction.detach().mean(1), original.detach().mean(1), strict=True)
        # One by one: a clip's frames take a hundred times its memory.
        cents = [1200 * (pitch(ours[None], rate) / pitch(theirs[None], rate)).log2() for ours, theirs in pairs]
        return where_finite(torch.stack([clip.abs().nanmean() for clip in cents]), reconstruction, original)

    def protocol(self, signal: SignalSpec) -> str:
        return (
            f"mean |cents| over frames, 10 ms apart, with a pitch of {LOWEST_PITCH:g}-{HIGHEST_PITCH:g} Hz on both "
            f"sides; YIN at {sound_rate(signal)} Hz, threshold {THRESHOLD:g}; mono; mean over clips; none: missing"
        )
