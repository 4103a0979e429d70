"""A discrete tokenizer whose codes are coded as sequences: trained like any other, its latents shorter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..composed import ComposedTokenizer
from ..config import TokenizerConfig
from ..interface import Latents, TrainableTokenizer
from ..spec import LatentSpec


class SequenceCodedTokenizer(TrainableTokenizer):
    """`inner` is the composed tokenizer and all that is trained; `sequence_coding` learns from its codes afterwards.

    `undecodable` counts the samples decoded so far whose sequences were malformed.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        if config.sequence_coding is None:
            raise ValueError("a SequenceCodedTokenizer needs a sequence coding")
        self.config = config
        self.inner = ComposedTokenizer(replace(config, sequence_coding=None))
        self.sequence_coding = config.sequence_coding.build(self.inner.spec)
        self._spec = config.spec
        self.undecodable = 0

    @property
    def spec(self) -> LatentSpec:
        return self._spec

    @torch.no_grad()
    def encode(self, signal: Tensor) -> Latents:
        """`[B, C, *signal]` to sequences `codes` `[B, R, L]` with `lengths`; no values."""
        codes, lengths = self.sequence_coding.encode(self.inner, signal)
        return Latents(codes=codes, lengths=lengths)

    def decode(self, latents: Latents) -> Tensor:
        """Sequences to `[B, C, *signal]`; without lengths every position counts."""
        codes = latents.codes
        if codes is None:
            raise ValueError("a sequence-coded tokenizer reads codes")
        lengths = latents.lengths
        if lengths is None:
            lengths = torch.full((len(codes),), codes.shape[2], device=codes.device)
        inner, malformed = self.sequence_coding.decode(codes, lengths)
        self.undecodable += malformed
        return self.inner.decode(inner)

    @property
    def batch_coupled(self) -> str | None:
        return self.inner.batch_coupled

    @property
    def rank_coupled(self) -> str | None:
        return self.inner.rank_coupled

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return self.inner.param_groups()

    def on_train_start(self, batches: Iterable[Any]) -> None:
        self.inner.on_train_start(batches)

    def losses(self, batch: Any, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
        """Those of the inner tokenizer."""
        return self.inner.losses(batch, group=group, step=step, steps=steps)

    @torch.no_grad()
    def after_step(self, *, step: int, steps: int) -> None:
        self.inner.after_step(step=step, steps=steps)

    def schedule_milestones(self) -> tuple[float, ...]:
        return self.inner.schedule_milestones()

    def drop_training_modules(self) -> None:
        self.inner.drop_training_modules()

    @torch.no_grad()
    def on_train_end(self, batches: Iterable[Any]) -> None:
        """Fits the sequence coding to what the trained tokenizer makes of the training split."""
        self.inner.on_train_end(batches)
        self.sequence_coding.fit(self.inner, batches)
