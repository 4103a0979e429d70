"""Orthogonal mixes of latents. Shape legend: B batch, C channels, P positions, *grid the axes of a latent."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..interface import Latents
from ..seeding import derive_seed
from ..spec import LatentSpec
from .base import Scramble
from .mix_config import ChannelMixConfig, PositionMixConfig


class Mix(Scramble):
    """Latents `[B, C, P]` times a random orthogonal matrix along one axis, in float64.

    What comes back rounds to the encoder's float32 values: the error of a product in float64 lies far below half a
    float32 step of every value that is not tiny (below about 1e-8 of its sample's norm). A posterior's deviations
    become the marginal ones of the mix, the roots of Q² σ².
    """

    axis: int

    def __init__(self, config: PositionMixConfig | ChannelMixConfig, inner: LatentSpec) -> None:
        super().__init__()
        for level, grid in enumerate(inner.grids):
            size = (grid.channels, grid.positions)[self.axis - 1]
            mix = orthogonal(size, derive_seed(config.seed, "scramble", config.kind, level))
            self.register_buffer(f"mix_{level}", mix, persistent=False)

    def scramble(self, latents: Latents, level: int) -> Latents:
        mix, scale = self.get_buffer(f"mix_{level}"), latents.scale
        if scale is not None:
            scale = self._mixed(scale.square(), mix.square()).sqrt().to(scale.dtype)
        values = None if latents.values is None else self._mixed(latents.values, mix)
        return replace(latents, values=values, scale=scale)

    def undo(self, latents: Latents, level: int) -> Latents:
        if latents.values is None:
            return latents
        values = self._mixed(latents.values, self.get_buffer(f"mix_{level}").t()).float()
        return replace(latents, values=values, scale=None)  # a deviation has no way back, and no decoder reads it

    def _mixed(self, values: Tensor, mix: Tensor) -> Tensor:
        flat = values.flatten(2).double()
        return (mix @ flat if self.axis == 1 else flat @ mix.t()).view(values.shape)


class PositionMix(Mix):
    """See `PositionMixConfig`."""

    axis = 2


class ChannelMix(Mix):
    """See `ChannelMixConfig`."""

    axis = 1


def orthogonal(size: int, seed: int) -> Tensor:
    """A random orthogonal matrix `[size, size]` in float64, uniform over all of them (Mezzadri 2007)."""
    gaussian = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q, r = torch.linalg.qr(gaussian)
    return q * r.diagonal().sign()
