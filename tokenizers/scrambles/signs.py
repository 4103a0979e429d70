"""Random signs per sample. Shape legend: B batch, C channels, *grid the axes of a latent."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from ..interface import Latents
from ..seeding import derive_seed
from ..spec import LatentSpec
from .base import Scramble, sample_keys, words
from .signs_config import SignsConfig


class Signs(Scramble):
    """Values times signs that differ from sample to sample; undone to the bit where there is a key."""

    def __init__(self, config: SignsConfig, inner: LatentSpec) -> None:
        super().__init__()
        self.per = config.per
        self.seed = derive_seed(config.seed, "scramble", config.kind)

    def scramble(self, latents: Latents, level: int) -> Latents:
        if latents.values is None:
            return latents
        key = sample_keys(latents.values, derive_seed(self.seed, level))
        return replace(latents, values=latents.values * self.signs(latents.values, key), key=key)

    def undo(self, latents: Latents, level: int) -> Latents:
        if latents.values is None or latents.key is None:
            return latents
        return replace(latents, values=latents.values * self.signs(latents.values, latents.key), key=None)

    def signs(self, like: Tensor, key: Tensor) -> Tensor:
        """1 and -1 for latents `[B, C, *grid]` with these keys `[B]`, of a shape that multiplies them."""
        shape = {
            "sample": [1] * (like.ndim - 1),
            "channel": [like.shape[1], *[1] * (like.ndim - 2)],
            "value": [*like.shape[1:]],
        }[self.per]
        drawn = words(key, math.prod(shape)) & 1
        return (1 - 2 * drawn).to(like.dtype).view(len(like), *shape)
