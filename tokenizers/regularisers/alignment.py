"""Representation alignment (B6): VA-VAE, Yao et al. 2025 (arXiv 2501.01423), equations 3 to 7.

Shape legend: B batch, C channels of the latents, E those of the target, *grid the axes of a latent, N its positions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..auxiliary.base import LossTerms, TrainedTokenizer, TrainingStep
from ..auxiliary.config import TokenizerParts
from ..backbones.shortcut import first
from .alignment_config import AlignmentConfig
from .base import Regulariser
from .targets import build_target, pooled

# Enough to estimate the mean and deviation of every feature.
_SAMPLES = 1024
# At most about this many positions of a sample are compared with each other, evenly spaced.
_COMPARED = 256


class Alignment(Regulariser):
    """weight x (mean of max(0, 1 - margin - cos(P z, f)) + structure x `structure_loss`).

    f are the frozen net's features, averaged onto the latent grid and normalised by their mean and deviation over the
    training split's first thousand samples; z the latents, P the projection. Where the latents are not a grid, their
    mean over positions is compared with the features' mean over the signal.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: AlignmentConfig, tokenizer: TokenizerParts) -> None:
        super().__init__()
        self.config, spec = config, tokenizer.spec
        self.target = build_target(config.target, spec)
        self.grid = spec.grid.shape if spec.grid.topology == "grid" else (1,) * spec.signal.modality.rank
        channels, features = spec.grid.channels, self.target.channels
        self.project: nn.Module = nn.Linear(channels, features)
        if config.hidden:
            self.project = nn.Sequential(
                nn.Linear(channels, config.hidden), nn.GELU(), nn.Linear(config.hidden, features)
            )
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))

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

    def losses(self, training_step: TrainingStep) -> LossTerms:
        values = training_step.bottleneck_output.values
        z = values.movedim(1, -1)
        if len(self.grid) != values.ndim - 2 or values.shape[2:] != self.grid:
            z = z.flatten(1, -2).mean(1).view(len(values), *self.grid, -1)
        with torch.no_grad():
            target = (self.target_features(training_step.signal) - self.mean) / self.deviation
        cosine = F.cosine_similarity(self.project(z), target, dim=-1)
        loss = (1 - self.config.margin - cosine).clamp_min(0).mean()
        if self.config.structure:
            loss = loss + self.config.structure * structure_loss(z, target, slack=self.config.slack)
        return LossTerms(
            losses={"alignment": self.config.weight * loss}, logs={"alignment_cosine": cosine.mean().detach()}
        )

    def target_features(self, signal: Tensor) -> Tensor:
        """The target's features on the latent grid, `[B, *grid, E]`, not normalised."""
        return pooled(self.target(signal.float()), self.grid).movedim(1, -1)


def structure_loss(z: Tensor, target: Tensor, *, slack: float) -> Tensor:
    """Mean over pairs of positions of max(0, |cos(z, z') - cos(f, f')| - slack), equation 5: `[B, *grid, C and E]`."""
    cosines = []
    for rows in (z, target):
        unit = F.normalize(rows.flatten(1, -2), dim=-1)
        unit = unit[:, :: -(-unit.shape[1] // _COMPARED)]
        cosines.append(unit @ unit.mT)
    return ((cosines[0] - cosines[1]).abs() - slack).clamp_min(0).mean()
