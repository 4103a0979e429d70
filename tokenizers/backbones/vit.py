"""A transformer over patches, with features on their grid or in learned latent tokens.

The latent tokens are those of TiTok (Yu et al. 2024, arXiv 2406.07550, section 3.2): they join the patches in the
encoder and alone leave it; the decoder reads them together with mask tokens that have the patches' positions.

Shape legend: B batch, P patches, n tokens, N = P + n, D width, *grid the grid of patches.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..geometry import grid_shape
from ..spec import SignalSpec
from .attention import TransformerEncoder, positions_of
from .patch import depth_to_space, space_to_depth
from .set_shortcut import SetShortcut
from .shortcut import LinearShortcut, Shortcut
from .token_shortcut import TokenShortcut
from .vit_config import ViTConfig

# About the size of embedded patches of signals in [-1, 1]: attention ignores positions and tokens that start smaller.
_STD = 0.3


class _Trunk(nn.Module):
    """What both halves share: blocks over P patches, and n tokens behind them."""

    def __init__(self, config: ViTConfig, signal: SignalSpec, downsample: tuple[int, ...]) -> None:
        super().__init__()
        self.grid, self.factors = grid_shape(signal, downsample), downsample
        self.position = positions_of(
            config.positions, self.grid, config.width, config.attention_heads, std=_STD, unplaced=config.tokens or 0
        )
        self.blocks = TransformerEncoder(config.width, config.layers, config.attention_heads, config.inner)

    def with_positions(self, patches: Tensor) -> Tensor:
        """`[B, P, D]` with the patches' positions added."""
        added = self.position()
        return patches if added is None else patches + added

    def forward(self, x: Tensor) -> Tensor:
        """`[B, N, D]` through the blocks."""
        return self.blocks(x, self.position.angles())


class ViTEncoder(nn.Module):
    """`[B, C, *signal]` to features `[B, D, *grid]`, or `[B, D, n]` of the learned tokens."""

    def __init__(self, config: ViTConfig, signal: SignalSpec, downsample: tuple[int, ...]) -> None:
        super().__init__()
        elements = signal.channels * math.prod(downsample)
        self.embed = nn.Linear(elements, config.width)
        self.trunk = _Trunk(config, signal, downsample)
        self.tokens = None if config.tokens is None else nn.Parameter(torch.randn(config.tokens, config.width) * _STD)

    def forward(self, signal: Tensor) -> Tensor:
        """`[B, C, *signal]` to `[B, D, *grid]` or `[B, D, n]`."""
        patches = space_to_depth(signal, self.trunk.factors).flatten(2).transpose(1, 2)
        x = self.trunk.with_positions(self.embed(patches))
        if self.tokens is None:
            return self.trunk(x).transpose(1, 2).unflatten(2, self.trunk.grid)
        x = torch.cat((x, self.tokens.expand(len(x), -1, -1)), dim=1)
        return self.trunk(x)[:, -len(self.tokens) :].transpose(1, 2)


class ViTDecoder(nn.Module):
    """`[B, D, *grid]` or `[B, D, n]` to `[B, C, *signal]`. Tokens of a set have no positions."""

    def __init__(self, config: ViTConfig, signal: SignalSpec, downsample: tuple[int, ...]) -> None:
        super().__init__()
        elements = signal.channels * math.prod(downsample)
        self.trunk = _Trunk(config, signal, downsample)
        self.query: nn.Parameter | None = None
        self.order: nn.Parameter | None = None
        if config.tokens is not None:
            self.query = nn.Parameter(torch.randn(config.width) * _STD)
            if config.topology == "sequence":
                self.order = nn.Parameter(torch.randn(config.tokens, config.width) * _STD)
        self.head = nn.Linear(config.width, elements)

    def forward(self, features: Tensor) -> Tensor:
        """`[B, D, *grid]` or `[B, D, n]` to `[B, C, *signal]`."""
        rows = features.flatten(2).transpose(1, 2)
        if self.query is None:
            x = self.trunk.with_positions(rows)
        else:
            queries = self.trunk.with_positions(self.query.expand(len(rows), math.prod(self.trunk.grid), -1))
            x = torch.cat((queries, rows if self.order is None else rows + self.order), dim=1)
        x = self.trunk(x)[:, : math.prod(self.trunk.grid)]
        return depth_to_space(self.head(x).transpose(1, 2).unflatten(2, self.trunk.grid), self.trunk.factors)


def vit_shortcut(config: ViTConfig, signal: SignalSpec, downsample: tuple[int, ...], latents: int) -> Shortcut | None:
    """The linear shortcut that fits the latents' topology; None for a set with too few channels for a name."""
    if config.tokens is None:
        return LinearShortcut(config, signal, downsample, latents)
    if latents <= config.digits:
        return None
    kind = SetShortcut if config.topology == "set" else TokenShortcut
    return kind(config, signal, downsample, latents)
