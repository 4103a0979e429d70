"""What regularisers share that predict a frozen net's features.

Shape legend: B batch, E features, *places the axes of a grid over the signal.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..auxiliary.base import TrainedTokenizer
from ..backbones.shortcut import first
from ..spec import LatentSpec
from ..targets import build_target, pooled
from .base import Regulariser

# Enough to estimate the mean and deviation of every feature.
_SAMPLES = 1024


class FeaturePredictor(Regulariser):
    """Holds the features of the target called `name` on `places`, normalised over the training split."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, name: str, spec: LatentSpec, places: tuple[int, ...]) -> None:
        super().__init__()
        self.target = build_target(name, spec.signal, places, where="regularisers: target")
        self.places = places
        self.register_buffer("mean", torch.zeros(self.target.channels))
        self.register_buffer("deviation", torch.ones(self.target.channels))

    @torch.no_grad()
    def on_train_start(self, tokenizer: TrainedTokenizer, batches: Iterable[Any]) -> None:
        """The mean and deviation of the pooled features over the first samples."""
        rows = [self.target_features(batch).flatten(0, -2).double() for batch in first(batches, _SAMPLES)]
        if rows:
            features = torch.cat(rows)
            self.mean.copy_(features.mean(0))
            # A constant feature carries no information; divided by 1 it stays 0.
            deviation = features.std(0, correction=0)
            self.deviation.copy_(torch.where(deviation > 1e-6, deviation, 1.0))

    def target_features(self, signal: Tensor) -> Tensor:
        """The target's features, `[B, *places, E]`, not normalised."""
        return pooled(self.target(signal.float()), self.places).movedim(1, -1)

    @torch.no_grad()
    def normalised(self, signal: Tensor) -> Tensor:
        """The target's features, `[B, *places, E]`, of mean 0 and variance 1 over the training split."""
        return (self.target_features(signal) - self.mean) / self.deviation
