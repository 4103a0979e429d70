"""The interface that every task sees: `Tokenizer` and the `Latents` it makes; and what the training loop sees.

Shape legend: B batch, C channels, H heads (codes per position), *signal and *grid the axes of a signal and a latent.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .spec import LatentSpec


@dataclass(frozen=True, kw_only=True)
class Latents:
    """What `encode` returns and `decode` reads.

    `values` `[B, C, *grid]` float: what the decoder reads (a posterior's mode; quantised values of a discrete
    tokenizer). `codes` `[B, H, *grid]` int64 for discrete tokenizers. Either may be None where the other is enough: a
    prior's samples of a discrete tokenizer carry codes alone. `scale` is the posterior's standard deviation, shaped
    like `values`, where there is one. `lengths` `[B]` counts the valid positions of variable-length sequences. `rest`
    holds the further grids of a hierarchy, coarse to fine. `key` `[B]` int64 is what a scramble stored with a sample
    and needs to undo it.
    """

    values: Tensor | None = None
    codes: Tensor | None = None
    scale: Tensor | None = None
    lengths: Tensor | None = None
    rest: tuple[Latents, ...] = ()
    key: Tensor | None = None

    @property
    def levels(self) -> tuple[Latents, ...]:
        """All grids: this one, then the rest of the hierarchy."""
        return (self, *self.rest)

    def __len__(self) -> int:
        tensor = self.values if self.values is not None else self.codes
        if tensor is None:
            raise ValueError("latents without values and without codes")
        return tensor.shape[0]


def number_of(point: str, name: str) -> int | None:
    """The number in an operating point's name: 2 of "depth_2" where `name` is "depth"; None of another name's."""
    begin, _, number = point.rpartition("_")
    return int(number) if begin == name and number.isdigit() else None


class Tokenizer(ABC):
    """Encodes signals to latents and decodes latents to signals. The tasks need no more of a tokenizer than this.

    `undecodable` counts the samples decoded so far whose codes described no signal and became a fallback instead.
    """

    undecodable: int = 0

    @property
    @abstractmethod
    def spec(self) -> LatentSpec:
        """The shape and rate of the latents for the signal this tokenizer was made for."""

    @abstractmethod
    def encode(self, signal: Tensor) -> Latents:
        """`[B, C, *signal]` floats in [-1, 1] to latents; a posterior gives its mode, and its deviation as `scale`."""

    @abstractmethod
    def decode(self, latents: Latents) -> Tensor:
        """Latents to `[B, C, *signal]`. Reads `values`; when they are None, the `codes` (discrete tokenizers)."""

    def operating_points(self) -> Mapping[str, Callable[[Latents], Tensor]]:
        """Further ways to decode what `encode` gives, by name: fewer codes ("depth_2"), a prefix of the tokens
        ("prefix_4"), fewer sampling steps ("steps_1")."""
        return {}

    def read_at(self, point: str, latents: Latents) -> Latents | None:
        """What the operating point of this name decodes of `latents` that `encode` gave: these themselves where it
        reads all of them, None where that is not known. Its rate is that of this part."""
        return None


class Trainable(nn.Module):
    """What the one training loop trains: a tokenizer, a prior, a feature encoder.

    `param_groups` names the sets of parameters that are optimised in turn within a step (one for most; generator and
    discriminator for an adversarial recipe). `losses` is called once per group and step, or, unless it is
    `batch_coupled` (why its losses are no mean over samples), once per micro-batch.
    """

    @property
    def batch_coupled(self) -> str | None:
        """Why a batch can't be divided, or None."""
        return None

    @property
    def rank_coupled(self) -> str | None:
        """Why several devices can't share a batch, or None."""
        return self.batch_coupled

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by group; by default one group, "model", with all trainable parameters."""
        return {"model": [p for p in self.parameters() if p.requires_grad]}

    def on_train_start(self, batches: Iterable[Any]) -> None:
        """Data-dependent initialisation before the first step (k-means start, closed-form PCA). Called once.

        `batches` may be iterated several times; each pass covers the training split once, shuffled in the same way
        each time: its first batches are a random sample.
        """

    def losses(self, batch: Any, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
        """Scalars by name; "loss" is minimised, the rest is logged. `step` counts from 0 to `steps` - 1.

        Without a "loss" the group skips this step: its parameters stay as they are.
        """
        raise NotImplementedError

    @torch.no_grad()
    def after_step(self, *, step: int, steps: int) -> None:
        """Called after all groups' optimiser steps (codebook upkeep that is no gradient step)."""

    def on_train_end(self, batches: Iterable[Any]) -> None:
        """What is learned from the trained model without a gradient (merges of its codes). Called once, after the last
        step, in eval mode and with the averaged weights in place; `batches` as in `on_train_start`."""

    def schedule_milestones(self) -> tuple[float, ...]:
        """Shares of the training, the first 0, at which the work of a step changes: FLOPs are counted at each."""
        return (0.0,)

    def drop_training_modules(self) -> None:
        """Drops what only training needs (a discriminator): after `on_train_end`, and before weights are loaded."""


class TrainableTokenizer(Trainable, Tokenizer):
    """A tokenizer that the training loop can fit: both an `nn.Module` and a `Tokenizer`."""
