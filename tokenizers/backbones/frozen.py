"""A frozen net as an encoder: RAE, Zheng et al. 2025 (arXiv 2510.11690)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..geometry import grid_shape
from ..spec import SignalSpec
from ..targets import build_target, pooled
from .frozen_config import FrozenConfig


class FrozenEncoder(nn.Module):
    """The net's features on the latent grid. It has no parameters, and no gradient passes through it."""

    def __init__(self, config: FrozenConfig, signal: SignalSpec, downsample: tuple[int, ...]) -> None:
        super().__init__()
        self.grid = grid_shape(signal, downsample)
        self.target = build_target(config.net, signal, self.grid, where="backbone.net")

    @torch.no_grad()
    def forward(self, signal: Tensor) -> Tensor:
        """`[B, C, *signal]` to `[B, features, *grid]`."""
        return pooled(self.target(signal.float()), self.grid)
