"""Run-length coding of codes (SlowVQ, A18): Dieleman et al. 2021 (arXiv 2103.06089), section 3.

Shape legend: B batch, H heads, *grid positions, P their number, C channels of the latent.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..composed import ComposedTokenizer
from ..spec import LatentSpec
from .base import SequenceCoding
from .run_length_config import RunLengthConfig


class RunLength(SequenceCoding):
    """Sequences `[B, H + 1, P]`: the heads' codes, then the run's length minus 1. Positions in raster order.

    Time is the last axis of waveforms and spectrograms, so a run is a stretch of time (of one row of frequencies).
    """

    def __init__(self, config: RunLengthConfig, inner: LatentSpec) -> None:
        super().__init__()
        self.config, self.grid = config, inner.grid

    def codes(self, tokenizer: ComposedTokenizer, signal: Tensor) -> Tensor:
        latents = tokenizer.encode(signal)
        if latents.codes is None or latents.values is None:
            raise ValueError("only codes can be coded as a sequence")
        if not self.config.tolerance:
            return latents.codes
        return hold(latents.values, latents.codes, self.config.tolerance)

    def encode_codes(self, codes: Tensor) -> tuple[Tensor, Tensor]:
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

    def decode_codes(self, sequences: Tensor, lengths: Tensor) -> tuple[Tensor, int]:
        count, heads = self.grid.positions, self.grid.heads
        places = torch.arange(sequences.shape[2], device=sequences.device)
        valid = places < lengths.unsqueeze(1)
        runs = torch.where(valid, sequences[:, heads] + 1, 0)
        ends = runs.cumsum(1)  # [B, L]
        positions = torch.arange(count, device=sequences.device).expand(len(sequences), -1).contiguous()
        last = (lengths - 1).clamp_min(0).unsqueeze(1)
        run = torch.searchsorted(ends, positions, right=True).minimum(last)
        flat = sequences[:, :heads].gather(2, run.unsqueeze(1).expand(-1, heads, -1))
        malformed = int((ends[:, -1] != count).sum())
        return flat.reshape(len(sequences), heads, *self.grid.shape), malformed


def hold(values: Tensor, codes: Tensor, tolerance: float) -> Tensor:
    """Codes in which a position takes over the code before it where that changes little.

    `values` `[B, C, *grid]` are those of the `codes` `[B, H, *grid]`. A position takes over the code chosen before it
    when |e_before - e|^2 <= tolerance x the sample's mean of |e - mean e|^2, greedily in raster order. Returns codes of
    the same shape.
    """
    e, c = (tensor.flatten(2).movedim(2, 0) for tensor in (values.float(), codes))  # [P, B, ...]
    allowed = tolerance * (e - e.mean(0)).square().sum(2).mean(0)
    held_code, held_value = c[0], e[0]
    chosen = [held_code]
    for place in range(1, len(e)):
        keep = ((e[place] - held_value).square().sum(1) <= allowed).unsqueeze(1)
        held_code = torch.where(keep, held_code, c[place])
        held_value = torch.where(keep, held_value, e[place])
        chosen.append(held_code)
    return torch.stack(chosen, dim=2).view_as(codes)
