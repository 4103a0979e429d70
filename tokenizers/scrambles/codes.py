"""Codes renumbered. Shape legend: B batch, H heads, K a head's codebook size, *grid the axes of a latent."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..interface import Latents
from ..seeding import derive_seed
from ..spec import LatentSpec
from .base import Scramble
from .codes_config import CodesConfig


class Codes(Scramble):
    """Codes by new numbers; the values, which the decoder reads where it has them, stay. Undone to the bit."""

    def __init__(self, config: CodesConfig, inner: LatentSpec) -> None:
        super().__init__()
        for level, grid in enumerate(inner.grids):
            for head, size in enumerate(grid.codebook_sizes):
                seed = derive_seed(config.seed, "scramble", config.kind, level, head)
                order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
                self.register_buffer(f"number_{level}_{head}", order, persistent=False)
                self.register_buffer(f"code_{level}_{head}", order.argsort(), persistent=False)

    def scramble(self, latents: Latents, level: int) -> Latents:
        return replace(latents, codes=self._looked_up(latents.codes, f"number_{level}"))

    def undo(self, latents: Latents, level: int) -> Latents:
        return replace(latents, codes=self._looked_up(latents.codes, f"code_{level}"))

    def _looked_up(self, codes: Tensor | None, table: str) -> Tensor | None:
        if codes is None:
            return None
        heads = [self.get_buffer(f"{table}_{head}")[codes[:, head]] for head in range(codes.shape[1])]
        return torch.stack(heads, dim=1)
