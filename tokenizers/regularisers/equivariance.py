"""Equivariance (B7): EQ-VAE, Kouzelis et al. 2025 (arXiv 2502.09509), equations 4 to 6."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import ranks
from ..auxiliary.base import LossTerms, TrainingStep
from ..auxiliary.config import TokenizerParts
from ..auxiliary.self_supervised import spread_hinge
from .base import Regulariser
from .equivariance_config import EquivarianceConfig
from .transforms import Transform, draw


class Equivariance(Regulariser):
    """decode(T(z)) against T(x), by the tokenizer's own objective, on a share of the batch.

    Comparing decoded signals has no trivial solution: latents without information decode to nothing. Transforms that
    change the size and those that keep it each get half of the share in every step, so that all steps cost the same.
    """

    def __init__(self, config: EquivarianceConfig, tokenizer: TokenizerParts) -> None:
        super().__init__()
        self.config = config
        chosen = config.chosen(tokenizer)
        self.groups = [g for g in ([k for k in chosen if k == "scale"], [k for k in chosen if k != "scale"]) if g]
        self.signal, self.grid = tokenizer.signal, tokenizer.spec.grid

    def losses(self, training_step: TrainingStep) -> LossTerms:
        own, weight = len(training_step.signal), self.config.weight
        batch = ranks.count() * own
        rows = max(1, round(self.config.probability * batch / len(self.groups)))
        loss = self._decoder_loss if self.config.match == "decoder" else self._latent_loss
        parts: list[Tensor] = []
        for number, kinds in enumerate(self.groups):
            start = min(number * rows, max(0, batch - rows))
            transform = self._draw(kinds)
            part, share = ranks.own_part(slice(start, start + rows), own)
            parts.append(share * loss(training_step, part, transform) if share else training_step.signal.new_zeros(()))
        losses = {"equivariance": weight * torch.stack(parts).mean()}
        if self.config.match == "latent":
            hinge = spread_hinge(ranks.gathered(training_step.bottleneck_output.latents))
            losses["equivariance_spread"] = weight * self.config.guard * hinge
        return LossTerms(losses=losses)

    def _draw(self, kinds: Sequence[str]) -> Transform:
        kind = kinds[int(torch.randint(len(kinds), ()))]
        whole = self.grid.heads > 0
        fourier = self.config.interpolation == "fourier"
        return draw(kind, self.signal.modality, self.signal.shape, self.grid.shape, whole=whole, fourier=fourier)

    def _decoder_loss(self, training_step: TrainingStep, rows: slice, transform: Transform) -> Tensor:
        """The objective between decode(T(z)) and T(x)."""
        tokenizer, values = training_step.tokenizer, training_step.bottleneck_output.values
        decoded = tokenizer.decode_values(transform.latent(values[rows]))
        losses = tokenizer.objective(decoded, transform.signal(training_step.signal[rows]))
        return torch.stack(list(losses.values())).sum()

    def _latent_loss(self, training_step: TrainingStep, rows: slice, transform: Transform) -> Tensor:
        """Mean squared T(E(x)) - E(T(x)), with the posterior's modes."""
        tokenizer = training_step.tokenizer
        values = tokenizer.bottleneck.encode(training_step.features[rows]).values
        expected = tokenizer.encode(transform.signal(training_step.signal[rows])).values
        assert values is not None
        assert expected is not None
        return (transform.latent(values) - expected).square().mean()
