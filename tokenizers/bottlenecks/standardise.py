"""Standardised features as latents: RAE, Zheng et al. 2025 (arXiv 2510.11690)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ..interface import Latents
from ..spec import LatentSpec
from .base import Bottleneck, BottleneckOutput
from .linear import principal_components
from .standardise_config import StandardiseConfig

_CONSTANT = 1e-6  # a feature that deviates less carries no information; divided by 1 it stays 0


class Standardise(Bottleneck):
    """z = P (f - m) / s and f' = P^T z, with m and s each feature's mean and deviation over the training split.

    P is the identity where all features are kept, else the leading principal components of the standardised ones, as
    rows. The decoder reads f', standardised.
    """

    mean: Tensor
    deviation: Tensor
    components: Tensor

    def __init__(self, config: StandardiseConfig, spec: LatentSpec, *, features: int) -> None:
        super().__init__(config, spec, features=features)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))
        self.register_buffer("components", torch.eye(features)[: spec.grid.channels])

    def forward(self, features: Tensor) -> BottleneckOutput:
        latents = self.encode(features)
        return BottleneckOutput(values=self.expand(latents), unexpanded=latents.values)

    def encode(self, features: Tensor) -> Latents:
        rows = (features.movedim(1, -1) - self.mean) / self.deviation
        return Latents(values=(rows @ self.components.T).movedim(-1, 1))

    def expand(self, latents: Latents) -> Tensor:
        return (super().expand(latents).movedim(1, -1) @ self.components).movedim(-1, 1)

    @torch.no_grad()
    def on_train_start(self, features: Iterable[Tensor]) -> None:
        """One pass over the training split for the moments, and another for the components where some are left out."""
        mean, axes, variances = principal_components(features, len(self.mean))
        deviation = (axes.T.square() @ variances.clamp_min(0)).sqrt()
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > _CONSTANT, deviation, 1.0))
        if len(self.components) < len(self.mean):
            standard = ((batch.movedim(1, -1) - self.mean) / self.deviation for batch in features)
            _, leading, _ = principal_components((rows.movedim(-1, 1) for rows in standard), len(self.components))
            self.components.copy_(leading)
