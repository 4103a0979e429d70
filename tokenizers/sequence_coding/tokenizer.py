"""A discrete tokenizer whose codes are recoded: trained as ever, its sequences shorter (A14, A16, A18, A19)."""

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


class RecodedTokenizer(TrainableTokenizer):
    """`inner` is the composed tokenizer and all that is trained; `recoding` learns from its codes afterwards.

    `undecodable` counts the samples decoded so far whose sequences did not describe exactly one grid of codes.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        if config.recoding is None:
            raise ValueError("a RecodedTokenizer needs a recoding")
        self.config = config
        self.inner = ComposedTokenizer(replace(config, recoding=None))
        self.recoding = config.recoding.build(self.inner.spec)
        self._spec = config.spec
        self.undecodable = 0

    @property
    def spec(self) -> LatentSpec:
        return self._spec

    @torch.no_grad()
    def encode(self, signal: Tensor) -> Latents:
        """`[B, C, *signal]` to sequences `codes` `[B, R, L]` with `lengths`; no values."""
        codes, lengths = self.recoding.recode(self.inner, signal)
        return Latents(codes=codes, lengths=lengths)

    def decode(self, latents: Latents) -> Tensor:
        """Sequences to `[B, C, *signal]`; without lengths every position counts."""
        codes = latents.codes
        if codes is None:
            raise ValueError("a recoded tokenizer reads codes")
        lengths = latents.lengths
        if lengths is None:
            lengths = torch.full((len(codes),), codes.shape[2], device=codes.device)
        restored, malformed = self.recoding.restore(codes, lengths)
        self.undecodable += malformed
        return self.inner.decode(restored)

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
        """Lets the recoding learn from what the trained tokenizer makes of the training split."""
        self.inner.on_train_end(batches)
        self.recoding.learn(self.inner, batches)
