"""Equivariance (B7): EQ-VAE, Kouzelis et al. 2025 (arXiv 2502.09509), equations 4 to 6; and its error as a measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..interface import Tokenizer
from .base import LossTerms, Regulariser, TrainingStep
from .transforms import Transform, draw, fixed, shift, turn

if TYPE_CHECKING:
    from ..config import TokenizerConfig
    from .curation_config import EquivarianceConfig


class Equivariance(Regulariser):
    """decode(T(z)) against T(x), by the tokenizer's own objective, on a share of the batch.

    Acting through the decoder has no trivial solution: latents that hold nothing decode to nothing. Of two kinds of
    transforms, those that change the size and those that don't, each gets its half of the samples in every step, so
    that all steps cost the same.
    """

    def __init__(self, config: EquivarianceConfig, tokenizer: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        chosen = config.chosen(tokenizer)
        self.groups = [g for g in ([k for k in chosen if k == "scale"], [k for k in chosen if k != "scale"]) if g]
        self.signal, self.grid = tokenizer.signal, tokenizer.spec.grid

    def losses(self, done: TrainingStep) -> LossTerms:
        rows = max(1, round(self.config.probability * len(done.signal) / len(self.groups)))
        parts: list[Tensor] = []
        for number, kinds in enumerate(self.groups):
            start = min(number * rows, max(0, len(done.signal) - rows))
            part = slice(start, start + rows)
            transform = self._draw(kinds)
            if self.config.match == "decoder":
                parts.append(self._decoded(done, part, transform))
            else:
                parts.append(self._matched(done, part, transform))
        losses = {"equivariance": self.config.weight * torch.stack(parts).mean()}
        if self.config.match == "latent":
            losses["equivariance_spread"] = self.config.weight * self.config.guard * spread_hinge(done.bottled.values)
        return LossTerms(losses=losses)

    def _draw(self, kinds: Sequence[str]) -> Transform:
        kind = kinds[int(torch.randint(len(kinds), ()))]
        whole = self.grid.heads > 0
        return draw(kind, self.signal.modality, self.signal.shape, self.grid.shape, whole=whole)

    def _decoded(self, done: TrainingStep, part: slice, transform: Transform) -> Tensor:
        """The objective between decode(T(z)) and T(x)."""
        reconstruction = done.tokenizer.decode_values(transform.latent(done.bottled.values[part]))
        terms = done.tokenizer.objective(reconstruction, transform.signal(done.signal[part]))
        return torch.stack(list(terms.values())).sum()

    def _matched(self, done: TrainingStep, part: slice, transform: Transform) -> Tensor:
        """Mean squared T(E(x)) - E(T(x)), the posterior's modes."""
        there = done.tokenizer.bottleneck.encode(done.features[part]).values
        back = done.tokenizer.encode(transform.signal(done.signal[part])).values
        assert there is not None
        assert back is not None
        return (transform.latent(there) - back).square().mean()


def spread_hinge(z: Tensor) -> Tensor:
    """Mean of max(0, 1 - s), s the root over positions of each channel's variance over the batch: `[B, C, *grid]`.

    VICReg's variance term (Bardes et al. 2021, equation 1). The variance is taken at each position, since a pattern
    that is the same for all samples holds no information.
    """
    variance = z.var(0, correction=0).flatten(1).mean(1)
    return (1 - (variance + 1e-4).sqrt()).clamp_min(0).mean()


@torch.no_grad()
def equivariance_error(
    tokenizer: Tokenizer, signal: Tensor, *, transforms: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """|T(E(x)) - E(T(x))|^2 / |E(T(x))|^2 of each sample, `[B]`, by transform; z is normalised per channel by E(x).

    0 is equivariant, and unrelated latents of the same variance come near 2. "rotate" is by 90 degrees (180 where the
    sides differ), "shift" by half the last axis and half a latent position. By default those of the modality that keep
    the size; "scale" asks for a tokenizer that encodes half the size. Continuous values of codes are compared as such.

    Raises ValueError for latents that are no grid, and for an unknown transform.
    """
    spec = tokenizer.spec
    if spec.topology != "grid":
        raise ValueError(f"the equivariance error needs a grid of latents, not a {spec.topology}")
    modality, grid = spec.signal.modality, spec.grid.shape
    z = _values(tokenizer, signal)
    axes = (0, *range(2, z.ndim))
    mean, deviation = z.mean(axes, keepdim=True), z.std(axes, correction=0, keepdim=True).clamp_min(1e-12)
    errors = {}
    for kind in transforms or (("shift",) if modality.is_audio else ("rotate", "flip")):
        if kind == "rotate":
            transform = turn(1 if spec.signal.shape[-1] == spec.signal.shape[-2] and grid[-1] == grid[-2] else 2)
        elif kind == "shift":
            factor = spec.signal.shape[-1] // grid[-1]
            transform = shift([(grid[-1] // 2 * factor + factor // 2, factor)])
        else:
            transform = fixed(kind, modality)
        there = transform.latent((z - mean) / deviation)
        back = (_values(tokenizer, transform.signal(signal)) - mean) / deviation
        difference = (there - back).square().flatten(1).sum(1)
        errors[kind] = difference / back.square().flatten(1).sum(1).clamp_min(1e-12)
    return errors


def _values(tokenizer: Tokenizer, signal: Tensor) -> Tensor:
    values = tokenizer.encode(signal).values
    if values is None:
        raise ValueError("the equivariance error needs latents with values")
    return values.float()
