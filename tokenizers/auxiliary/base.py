"""What an auxiliary objective is to the tokenizer that it trains with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from ..backbones.shortcut import Shortcut
from ..bottlenecks.base import Bottleneck, BottleneckOutput
from ..interface import Latents
from ..losses.objective import Objective


class TrainedTokenizer(Protocol):
    """What an objective uses of the tokenizer that it trains with.

    `ComposedTokenizer` is one. It holds the objectives, so these can't import it.
    """

    encoder: nn.Module
    project_in: nn.Module
    bottleneck: Bottleneck
    decoder: nn.Module
    shortcut: Shortcut | None
    objective: Objective

    def features(self, signal: Tensor) -> Tensor:
        """What the bottleneck reads of `[B, C, *signal]`: `[B, inputs, *grid]` float32."""

    def decode_values(self, values: Tensor) -> Tensor:
        """The feed-forward decoder's output for what it reads: `[B, outputs, *grid]` to `[B, C, *signal]`."""

    def encode(self, signal: Tensor) -> Latents:
        """See `Tokenizer.encode`."""

    def decode(self, latents: Latents) -> Tensor:
        """See `Tokenizer.decode`."""


@dataclass(frozen=True, kw_only=True)
class TrainingStep:
    """The forward pass of one training step, as the auxiliary objectives see it.

    `signal` is the clean batch, `features` `[B, inputs, *grid]` what the bottleneck read, `values` what the decoder
    read (with the gradient's path to the features, even where the decoder read a detached copy), `reconstruction` the
    feed-forward decoder's output (a diffusion decoder's condition), `fidelity` the weighted sum of the losses that
    compare with the signal.
    """

    tokenizer: TrainedTokenizer
    signal: Tensor
    features: Tensor
    bottleneck_output: BottleneckOutput
    values: Tensor
    reconstruction: Tensor
    fidelity: Tensor
    step: int
    steps: int


@dataclass(frozen=True, kw_only=True)
class LossTerms:
    """What an objective adds: `losses` are weighted scalars of the loss, `logs` scalars that are only logged."""

    losses: Mapping[str, Tensor] = field(default_factory=dict)
    logs: Mapping[str, Tensor] = field(default_factory=dict)


class AuxiliaryObjective(nn.Module):
    """Trains with the tokenizer; every method does nothing by default. Runs in float32.

    `keep_at_inference` says whether the trained tokenizer keeps it; otherwise it is dropped after training. With
    `detaches_features` the bottleneck reads the features without gradient, with `detaches_values` the decoder reads the
    latents without gradient.
    """

    keep_at_inference: ClassVar[bool] = False
    detaches_features: ClassVar[bool] = False
    detaches_values: ClassVar[bool] = False

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters with an optimiser and losses of their own, by the group's name."""
        return {}

    def read(self, signal: Tensor, *, step: int, steps: int) -> Tensor:
        """What the encoder reads in training in place of `signal` `[B, C, *signal]`, which may be corrupted already."""
        return signal

    def losses(self, training_step: TrainingStep) -> LossTerms:
        """What it adds to the tokenizer's loss."""
        return LossTerms()

    def balanced(self, terms: Mapping[str, Tensor], reconstruction: Tensor) -> Mapping[str, Tensor]:
        """All weighted losses of the step, by name, with the gradients that they should have at `reconstruction`."""
        return terms

    def group_losses(self, group: str, *, step: int, steps: int) -> Mapping[str, Tensor]:
        """The losses of its own parameter group, after the tokenizer's in the same step; {} skips the step."""
        return {}

    def on_train_start(self, tokenizer: TrainedTokenizer, batches: Iterable[Any]) -> None:
        """Data-dependent initialisation, after the tokenizer's own."""

    @torch.no_grad()
    def after_step(self, tokenizer: TrainedTokenizer, *, step: int, steps: int) -> None:
        """Updates without a gradient, after all optimisers' steps."""

    @torch.no_grad()
    def on_train_end(self, tokenizer: TrainedTokenizer) -> None:
        """Called once after the last step, with the averaged weights in place, before training modules are dropped."""
