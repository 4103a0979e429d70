"""Random views of signals for training encoders: crops, shifts, flips, gain, noise. Pure functions, any rank.

Everything random draws from torch's global generator. Shape legend: `[B, C, *shape]`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...tokenizers.spec import Modality


@dataclass(frozen=True, kw_only=True)
class ViewRange:
    """How strongly views differ: `keep` the least share of each axis that a crop keeps, `flip` whether the last axis
    may be reversed, `gain` (log), `offset`, `tint` (an offset per channel) and `noise` the greatest amounts."""

    keep: tuple[float, ...]
    flip: bool = False
    gain: float = 0.0
    offset: float = 0.0
    tint: float = 0.0
    noise: float = 0.0


CONTRASTIVE: dict[Modality, ViewRange] = {
    Modality.IMAGE: ViewRange(keep=(0.5, 0.5), flip=True, gain=0.3, offset=0.2, tint=0.2, noise=0.1),
    Modality.VIDEO: ViewRange(keep=(0.7, 0.5, 0.5), flip=True, gain=0.3, offset=0.2, tint=0.2, noise=0.1),
    Modality.SPECTROGRAM: ViewRange(keep=(0.85, 0.6), offset=0.1, noise=0.05),
}
# With labels a flip could change the class (a direction, a letter), and so could a strong crop.
LABELLED: dict[Modality, ViewRange] = {
    Modality.IMAGE: ViewRange(keep=(0.85, 0.85), gain=0.1, offset=0.05, noise=0.05),
    Modality.VIDEO: ViewRange(keep=(0.9, 0.85, 0.85), gain=0.1, offset=0.05, noise=0.05),
    Modality.SPECTROGRAM: ViewRange(keep=(0.95, 0.85), offset=0.05, noise=0.05),
}


def uniform(x: Tensor, low: float, high: float, *, channels: int = 1) -> Tensor:
    """`[B, channels, 1, ...]` uniform numbers that broadcast against `x`."""
    shape = (x.shape[0], channels, *[1] * (x.dim() - 2))
    return torch.empty(shape, device=x.device).uniform_(low, high)


def crop(x: Tensor, keep: tuple[float, ...]) -> Tensor:
    """A random box of every sample, stretched back to full size by linear interpolation, one axis after the other.

    Along axis i the box is a share in [keep_i, 1] of the axis, anywhere. Each axis is one batched product with a banded
    `[B, n, n]` matrix.
    """
    for axis, least in enumerate(keep, start=2):
        n = x.shape[axis]
        if least >= 1 or n == 1:
            continue
        share = torch.empty(x.shape[0], 1, device=x.device).uniform_(least, 1)
        start = torch.rand_like(share) * (1 - share) * (n - 1)
        position = start + share * torch.arange(n, device=x.device)
        grid = torch.arange(n, device=x.device)[:, None]
        matrix = (1 - (position[:, None] - grid).abs()).clamp_min(0)  # [B, source, target]
        moved = x.movedim(axis, -1)
        x = (moved.flatten(1, -2) @ matrix).view(moved.shape).movedim(-1, axis)
    return x


def shift(waveform: Tensor) -> Tensor:
    """Every waveform `[B, C, N]` rotated in time by a random amount."""
    b, _, n = waveform.shape
    by = torch.randint(0, n, (b, 1, 1), device=waveform.device)
    return torch.take_along_dim(waveform, (torch.arange(n, device=waveform.device) + by) % n, dim=2)


def view(x: Tensor, ranges: ViewRange) -> Tensor:
    """One random view of pictures, clips or log-mels `[B, C, *shape]`."""
    x = crop(x, ranges.keep)
    if ranges.flip:
        flipped = torch.rand(x.shape[0], *[1] * (x.dim() - 1), device=x.device) < 0.5
        x = torch.where(flipped, x.flip(-1), x)
    if ranges.gain:
        x = x * uniform(x, -ranges.gain, ranges.gain).exp()
    if ranges.offset:
        x = x + uniform(x, -ranges.offset, ranges.offset)
    if ranges.tint and x.shape[1] > 1:
        x = x + uniform(x, -ranges.tint, ranges.tint, channels=x.shape[1])
    if ranges.noise:
        x = x + uniform(x, 0, ranges.noise) * torch.randn_like(x)
    return x


def wave_view(waveform: Tensor) -> Tensor:
    """One random view of waveforms `[B, C, N]`: rotated in time, up to 6 dB louder or softer, a little noise."""
    x = shift(waveform) * uniform(waveform, -0.69, 0.69).exp()
    return x + 10 ** uniform(waveform, -5, -2) * torch.randn_like(x)
