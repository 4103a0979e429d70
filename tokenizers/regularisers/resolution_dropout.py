"""Resolution dropout (A14): training at two resolutions of the latent grid, as in CAT (arXiv 2501.03120).

Shape legend: B batch, C channels, *grid the latent's axes, *coarse those axes divided by the factors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..auxiliary.config import TokenizerParts
from .base import Regulariser
from .resolution_dropout_config import ResolutionDropoutConfig, halves


class ResolutionDropout(Regulariser):
    """Features of a random part of the batch are pooled to the coarse grid and repeated before the bottleneck.

    Encoder and decoder keep their one resolution: the bottleneck gives the positions of a block the same value.
    """

    def __init__(self, config: ResolutionDropoutConfig, tokenizer: TokenizerParts) -> None:
        super().__init__()
        self.probability, self.factors = config.probability, halves(tokenizer.layout.shape)

    def features(self, features: Tensor) -> Tensor:
        if not self.training:
            return features
        chosen = torch.rand(len(features), device=features.device) < self.probability
        coarse = repeated(pooled(features, self.factors), self.factors)
        return torch.where(chosen.view(-1, *(1,) * (features.ndim - 1)), coarse, features)


def pooled(features: Tensor, factors: tuple[int, ...]) -> Tensor:
    """`[B, C, *grid]` to the means of its blocks of `factors` positions, `[B, C, *coarse]`."""
    for axis, factor in enumerate(factors, start=2):
        if factor > 1:
            features = features.unflatten(axis, (-1, factor)).mean(axis + 1)
    return features


def repeated(coarse: Tensor, factors: tuple[int, ...]) -> Tensor:
    """`[B, C, *coarse]` with each position over its whole block, `[B, C, *grid]`."""
    for axis, factor in enumerate(factors, start=2):
        if factor > 1:
            coarse = coarse.repeat_interleave(factor, dim=axis)
    return coarse
