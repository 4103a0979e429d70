"""Positions permuted. Shape legend: B batch, C channels, H heads, P positions, *grid the axes of a latent."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..interface import Latents
from ..seeding import derive_seed
from ..spec import LatentSpec
from .base import Scramble
from .positions_config import PositionsConfig


class Positions(Scramble):
    """Latents with their positions permuted; undone to the bit."""

    def __init__(self, config: PositionsConfig, inner: LatentSpec) -> None:
        super().__init__()
        for level, grid in enumerate(inner.grids):
            generator = torch.Generator().manual_seed(derive_seed(config.seed, "scramble", config.kind, level))
            order = torch.randperm(grid.positions, generator=generator)
            self.register_buffer(f"order_{level}", order, persistent=False)
            self.register_buffer(f"back_{level}", order.argsort(), persistent=False)

    def scramble(self, latents: Latents, level: int) -> Latents:
        return _reordered(latents, self.get_buffer(f"order_{level}"))

    def undo(self, latents: Latents, level: int) -> Latents:
        return _reordered(latents, self.get_buffer(f"back_{level}"))


def _reordered(latents: Latents, order: Tensor) -> Latents:
    def moved(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.flatten(2)[..., order].view(tensor.shape)

    return replace(latents, values=moved(latents.values), codes=moved(latents.codes), scale=moved(latents.scale))
