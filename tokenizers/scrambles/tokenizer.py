"""A tokenizer with scrambled latents: trained, encoding and decoding like the one that it wraps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..config import TokenizerConfig
from ..interface import Latents, TrainableTokenizer
from ..spec import LatentSpec
from .base import Scramble


class ScrambledTokenizer(TrainableTokenizer):
    """`inner` is the tokenizer and all that is trained; `scramble` stands between it and whoever reads latents."""

    def __init__(self, config: TokenizerConfig, inner: TrainableTokenizer) -> None:
        super().__init__()
        if config.scramble is None:
            raise ValueError("a ScrambledTokenizer needs a scramble")
        self.config = config
        self.inner = inner
        self.scramble: Scramble = config.scramble.build(inner.spec)
        self._spec = config.spec

    @property
    def spec(self) -> LatentSpec:
        return self._spec

    def encode(self, signal: Tensor) -> Latents:
        """`[B, C, *signal]` to the inner tokenizer's latents, scrambled."""
        return _by_level(self.scramble.scramble, self.inner.encode(signal))

    def decode(self, latents: Latents) -> Tensor:
        """Scrambled latents to `[B, C, *signal]`."""
        decoded = self.inner.decode(self.undone(latents))
        self.undecodable = self.inner.undecodable
        return decoded

    def undone(self, latents: Latents) -> Latents:
        """Scrambled latents as the inner tokenizer reads them."""
        return _by_level(self.scramble.undo, latents)

    def operating_points(self) -> Mapping[str, Callable[[Latents], Tensor]]:
        """Those of the inner tokenizer."""
        points = self.inner.operating_points()
        return {name: partial(self._decoded_by, decode) for name, decode in points.items()}

    def read_at(self, point: str, latents: Latents) -> Latents | None:
        """The inner tokenizer's part of what it reads. Of values it is known only where it is all of them: a part of
        them is none of the scrambled ones."""
        undone = self.undone(latents)
        part = self.inner.read_at(point, undone)
        if part is undone:
            return latents
        return None if part is None or part.values is not None else part

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

    def on_train_end(self, batches: Iterable[Any]) -> None:
        self.inner.on_train_end(batches)

    def schedule_milestones(self) -> tuple[float, ...]:
        return self.inner.schedule_milestones()

    def drop_training_modules(self) -> None:
        self.inner.drop_training_modules()

    def _decoded_by(self, decode: Callable[[Latents], Tensor], latents: Latents) -> Tensor:
        return decode(self.undone(latents))


def _by_level(change: Callable[[Latents, int], Latents], latents: Latents) -> Latents:
    levels = []
    for number, level in enumerate(latents.levels):
        changed = change(replace(level, rest=()), number)
        if level.values is not None and changed.values is not None:
            changed = replace(changed, values=_laid_out_like(level.values, changed.values))
        levels.append(changed)
    return replace(levels[0], rest=tuple(levels[1:]))


def _laid_out_like(original: Tensor, values: Tensor) -> Tensor:
    """`values` with channels last in memory where `original` has them so: convolutions round by the order of memory."""
    if original.ndim in (4, 5) and original.stride(1) < min(original.stride()[2:]):
        return values.contiguous(memory_format=torch.channels_last if original.ndim == 4 else torch.channels_last_3d)
    return values.contiguous()
