"""Adaptive resolution (A14): the codes of the whole grid, or of half as many per axis, as in CAT (arXiv 2501.03120).

Shape legend: B batch, H heads, *grid positions, L their number, *coarse the grid of half the resolution.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..composed import ComposedTokenizer
from ..interface import Latents
from ..regularisers.resolution_dropout import pooled, repeated
from ..regularisers.resolution_dropout_config import halves
from ..spec import LatentSpec
from .adaptive import Adaptive
from .resolution_config import ResolutionConfig


class Resolution(Adaptive):
    """Sequences `[B, H, L]`: the coarse grid's codes, or the whole grid's, in raster order. The length says which."""

    def __init__(self, config: ResolutionConfig, inner: LatentSpec) -> None:
        super().__init__(config, inner)
        self.factors = halves(inner.grid.shape)
        self.coarse = tuple(size // factor for size, factor in zip(inner.grid.shape, self.factors, strict=True))

    def candidates(self, tokenizer: ComposedTokenizer, signal: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        features = tokenizer.features(signal)
        for factors in (self.factors, (1,) * len(self.factors)):
            with torch.autocast(signal.device.type, enabled=False):
                codes = tokenizer.bottleneck.encode(pooled(features, factors)).codes
            if codes is None:
                raise ValueError("only codes can be coded as a sequence")
            yield codes.flatten(2), tokenizer.decode(Latents(codes=repeated(codes, factors)))

    def decode(self, sequences: Tensor, lengths: Tensor) -> tuple[Latents, int]:
        """The whole grid's codes; a sequence of another length than the two repeats its last code up to the next."""
        few, many = self.lengths
        places = torch.arange(many, device=sequences.device)
        last = (lengths - 1).clamp_min(0).unsqueeze(1)
        filled = sequences.gather(2, places.minimum(last).unsqueeze(1).expand_as(sequences))
        shape = (len(sequences), self.grid.heads)
        coarse = repeated(filled[:, :, :few].reshape(*shape, *self.coarse), self.factors)
        fine = filled.reshape(*shape, *self.grid.shape)
        is_coarse = (lengths <= few).view(-1, *(1,) * (fine.ndim - 1))
        malformed = int(((lengths != few) & (lengths != many)).sum())
        return Latents(codes=torch.where(is_coarse, coarse, fine)), malformed
