"""Channels of noise. Shape legend: B batch, C channels, *grid the axes of a latent."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ..interface import Latents
from ..seeding import derive_seed
from ..spec import LatentSpec
from .base import Scramble, sample_keys, words
from .noise_channels_config import NoiseChannelsConfig


class NoiseChannels(Scramble):
    """Channels of N(0, 1) behind the others; undone to the bit.

    The noise is drawn from the latents' own bits, so that encoding repeats. Where there is a posterior, that of the new
    channels has the mean deviation of the others.
    """

    def __init__(self, config: NoiseChannelsConfig, inner: LatentSpec) -> None:
        super().__init__()
        self.seed = derive_seed(config.seed, "scramble", config.kind)
        self.channels = config.channels

    def scramble(self, latents: Latents, level: int) -> Latents:
        values, scale = latents.values, latents.scale
        if values is None:
            return latents
        shape = (self.channels, *values.shape[2:])
        noise = standard_normal(sample_keys(values, derive_seed(self.seed, level)), math.prod(shape))
        noise = noise.view(len(values), *shape).to(values.dtype)
        if scale is not None:
            scale = torch.cat([scale, scale.mean(1, keepdim=True).expand(-1, *shape)], dim=1)
        return replace(latents, values=torch.cat([values, noise], dim=1), scale=scale)

    def undo(self, latents: Latents, level: int) -> Latents:
        def cut(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[:, : -self.channels]

        return replace(latents, values=cut(latents.values), scale=cut(latents.scale))


def standard_normal(keys: Tensor, count: int) -> Tensor:
    """`count` values of N(0, 1) per key: `[B]` to `[B, count]` float64."""
    uniform = (((words(keys, count) >> 11) & (2**53 - 1)).double() + 0.5) / 2**53
    return math.sqrt(2) * torch.erfinv(2 * uniform - 1)
