"""Adaptive length (A14): prefixes of the codes of a tokenizer with nested dropout.

Shape legend: B batch, H heads, L positions.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..composed import ComposedTokenizer
from ..interface import Latents
from .adaptive import Adaptive


class Prefix(Adaptive):
    """Sequences `[B, H, L]`: the first codes, in raster order."""

    def candidates(self, tokenizer: ComposedTokenizer, signal: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        codes = self.codes(tokenizer, signal)
        flat = codes.flatten(2)
        for count in self.lengths:
            lengths = torch.full((len(codes),), count, device=codes.device)
            yield flat[:, :, :count], tokenizer.decode(Latents(codes=codes, lengths=lengths))

    def decode(self, sequences: Tensor, lengths: Tensor) -> tuple[Latents, int]:
        """Prefixes as they are; an empty sequence is malformed, and is decoded as a prefix of one position."""
        empty = int((lengths < 1).sum())
        codes = sequences.reshape(len(sequences), self.grid.heads, *self.grid.shape)
        return Latents(codes=codes, lengths=lengths.clamp_min(1)), empty
