"""What a regulariser is to the tokenizer that trains with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from ..interface import Latents

if TYPE_CHECKING:
    from ..bottlenecks.base import BottleneckOutput
    from ..composed import ComposedTokenizer


@dataclass(frozen=True, kw_only=True)
class TrainingStep:
    """One training pass of a tokenizer, as its regularisers see it.

    `signal` is the clean batch, `features` `[B, inputs, *grid]` what the bottleneck read, `values` what the decoder
    read (with the gradient's path to the features, also where the decoder has none), `reconstruction` what it gave (a
    generative decoder's condition), `fidelity` the objective's weighted sum.
    """

    tokenizer: ComposedTokenizer
    signal: Tensor
    features: Tensor
    bottled: BottleneckOutput
    values: Tensor
    reconstruction: Tensor
    fidelity: Tensor
    step: int
    steps: int


@dataclass(frozen=True, kw_only=True)
class LossTerms:
    """What a regulariser adds: `losses` are weighted scalars of the loss, `logs` scalars that are only logged."""

    losses: Mapping[str, Tensor] = field(default_factory=dict)
    logs: Mapping[str, Tensor] = field(default_factory=dict)


class Regulariser(nn.Module):
    """A further influence on training; everything has a default that does nothing. Runs in float32.

    `keep_at_inference` says whether the trained tokenizer keeps it; the others are companions of training alone. With
    `detaches_features` nothing from the bottleneck on sends a gradient to the encoder, with `detaches_values` the
    decoder reads a copy of the latents without gradient.
    """

    keep_at_inference: ClassVar[bool] = False
    detaches_features: ClassVar[bool] = False
    detaches_values: ClassVar[bool] = False

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters that are optimised apart from the tokenizer's, by player."""
        return {}

    def features(self, features: Tensor) -> Tensor:
        """What the bottleneck reads in training in place of `features` `[B, inputs, *grid]`."""
        return features

    def values(self, values: Tensor) -> Tensor:
        """What the decoder reads in training in place of `values` `[B, outputs, *grid]`."""
        return values

    def losses(self, done: TrainingStep) -> LossTerms:
        """What it adds to the tokenizer's loss."""
        return LossTerms()

    def group_losses(self, group: str, *, step: int, steps: int) -> Mapping[str, Tensor]:
        """The losses of its own player, called after the tokenizer's pass of the same step; {} sits the step out."""
        return {}

    def truncate(self, values: Tensor, lengths: Tensor) -> Tensor:
        """What the decoder reads of `values` when only the first `lengths` `[B]` positions are there."""
        return values

    def operating_points(self, tokenizer: ComposedTokenizer) -> dict[str, Callable[[Latents], Tensor]]:
        """Further ways to decode the same latents (see `Tokenizer.operating_points`)."""
        return {}

    def on_train_start(self, tokenizer: ComposedTokenizer, batches: Iterable[Any]) -> None:
        """Data-dependent start, after the tokenizer's own."""

    @torch.no_grad()
    def after_step(self, *, step: int, steps: int) -> None:
        """Upkeep after all optimiser steps."""

    @torch.no_grad()
    def on_train_end(self, tokenizer: ComposedTokenizer) -> None:
        """Called once after the last step, with the averaged weights in place, before companions are dropped."""
