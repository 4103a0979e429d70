"""Run-length coding of codes (A18): Dieleman et al. 2021 (arXiv 2103.06089), section 3.

Shape legend: B batch, H heads, *grid positions, P their number, C channels of the latent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ..bottlenecks.vq import VQ
from ..spec import LatentSpec
from .base import Recoding

if TYPE_CHECKING:
    from ..composed import ComposedTokenizer
    from .config import RunLengthConfig


class RunLength(Recoding):
    """Sequences `[B, H + 1, P]`: the heads' codes, then the run's length minus 1. Positions in raster order.

    Time is the last axis of waveforms and spectrograms, so a run is a stretch of time (of one row of frequencies).
    """

    def __init__(self, config: RunLengthConfig, inner: LatentSpec) -> None:
        super().__init__()
        self.config, self.grid = config, inner.grid

    def codes(self, tokenizer: ComposedTokenizer, signal: Tensor) -> Tensor:
        codes = super().codes(tokenizer, signal)
        if not self.config.tolerance or not isinstance(tokenizer.bottleneck, VQ):
            return codes
        features = tokenizer.project_in(tokenizer.encoder(signal)).float()
        if tokenizer.bottleneck.config.normalise:
            heads = features.unflatten(1, (codes.shape[1], -1))
            features = F.normalize(heads, dim=2).flatten(1, 2)
        values = tokenizer.bottleneck.lookup(codes)
        return hold(features, values, codes, self.config.tolerance)

    def encode(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        flat = codes.flatten(2)  # [B, H, P]
        batch, heads, count = flat.shape
        new = torch.ones(batch, count, dtype=torch.bool, device=codes.device)
        new[:, 1:] = (flat[:, :, 1:] != flat[:, :, :-1]).any(1)
        places = torch.arange(count, device=codes.device).expand(batch, -1)
        starts = torch.where(new, places, 0).cummax(1).values
        # A run that is too long starts anew every `longest` positions.
        new |= (places - starts) % self.config.longest == 0
        number = new.cumsum(1) - 1
        lengths = number[:, -1] + 1
        sequences = torch.zeros(batch, heads + 1, count, dtype=torch.long, device=codes.device)
        sequences[:, :heads].scatter_(2, number.unsqueeze(1).expand(-1, heads, -1), flat)
        sequences[:, heads].scatter_add_(1, number, torch.ones_like(number))
        sequences[:, heads] = (sequences[:, heads] - 1).clamp_min(0)
        return sequences, lengths

    def decode(self, sequences: Tensor, lengths: Tensor) -> tuple[Tensor, int]:
        count, heads = self.grid.positions, self.grid.heads
        places = torch.arange(sequences.shape[2], device=sequences.device)
        valid = places < lengths.unsqueeze(1)
        runs = torch.where(valid, sequences[:, heads] + 1, 0)
        ends = runs.cumsum(1)  # [B, L]
        wanted = torch.arange(count, device=sequences.device).expand(len(sequences), -1).contiguous()
        last = (lengths - 1).clamp_min(0).unsqueeze(1)
        run = torch.searchsorted(ends, wanted, right=True).minimum(last)
        flat = sequences[:, :heads].gather(2, run.unsqueeze(1).expand(-1, heads, -1))
        malformed = int((ends[:, -1] != count).sum())
        return flat.reshape(len(sequences), heads, *self.grid.shape), malformed


def hold(features: Tensor, values: Tensor, codes: Tensor, tolerance: float) -> Tensor:
    """Codes with each position's kept from the one before it where that costs little.

    `features` and `values` (of the nearest codes) are `[B, C, *grid]`, `codes` `[B, H, *grid]`. A position takes over
    the code chosen before it when |x - e_before|^2 <= |x - e_nearest|^2 + tolerance x the sample's mean of
    |x - e_nearest|^2, greedily in raster order. Returns codes of the same shape.
    """
    x, e, c = (tensor.flatten(2).movedim(2, 0) for tensor in (features, values, codes))  # [P, B, ...]
    nearest = (x - e).square().sum(2)
    allowed = nearest + tolerance * nearest.mean(0)
    kept_code, kept_value = c[0], e[0]
    chosen = [kept_code]
    for place in range(1, len(x)):
        keep = ((x[place] - kept_value).square().sum(1) <= allowed[place]).unsqueeze(1)
        kept_code = torch.where(keep, kept_code, c[place])
        kept_value = torch.where(keep, kept_value, e[place])
        chosen.append(kept_code)
    return torch.stack(chosen, dim=2).view_as(codes)
