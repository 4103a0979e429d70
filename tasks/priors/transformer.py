"""The transformer that priors share: its blocks' initial weights, its KV cache, and fixed N-d positions.

Shape legend: B batch, N positions, D width, h attention heads, d = D / h, R rank of the grid.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...tokenizers.backbones.attention import Block, KVCache, Rotary, coordinates
from .space_time import FrameAttention, TimeAttention


class Transformer(nn.Module):
    """`layers` blocks and, without conditioning, a final norm.

    With `frame`, the number of positions of a frame, blocks attend in turn within frames and along time.
    """

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        *,
        causal: bool,
        dropout: float = 0.0,
        condition: int | None = None,
        frame: int | None = None,
    ) -> None:
        super().__init__()
        self.layers, self.width, self.heads = layers, width, heads

        def block(number: int) -> Block:
            attention = None
            if frame is not None:
                kind = (FrameAttention, TimeAttention)[number % 2]
                attention = kind(width, heads, frame=frame, causal=causal, dropout=dropout)
            return Block(width, heads, causal=causal, dropout=dropout, condition=condition, attention=attention)

        blocks = [block(number) for number in range(layers)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width, bias=False, eps=1e-6) if condition is None else nn.Identity()
        self._initialise(blocks, by_fan_in=not causal)

    def _initialise(self, blocks: list[Block], *, by_fan_in: bool) -> None:
        """Normal weights, residual outputs scaled down by depth (GPT-2), modulations zero.

        Standard deviations are 1 / sqrt(inputs) `by_fan_in`, else GPT-2's 0.02. Short trainings decided: on codes of
        photographs, widths 64 and 128, masked prediction needs a tenth fewer bits from fan-in, and autoregression 2 to
        4 % more.
        """

        def std(layer: nn.Linear) -> float:
            return 1 / math.sqrt(layer.in_features) if by_fan_in else 0.02

        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=std(module))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for block in blocks:
            for output in (block.attention.out, block.mlp.down):
                nn.init.normal_(output.weight, std=std(output) / math.sqrt(2 * self.layers))
            if block.modulation is not None:
                nn.init.zeros_(block.modulation.weight)

    def cache(self, batch: int, length: int) -> KVCache:
        """An empty KV cache for `length` positions."""
        like = next(self.parameters())
        return KVCache(self.layers, batch, self.heads, length, self.width // self.heads, like)

    def forward(
        self,
        x: Tensor,
        *,
        condition: Tensor | None = None,
        rotary: Rotary | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """`[B, N, D]` to the same. With `cache` x holds the positions that follow the cached ones."""
        for number, block in enumerate(self.blocks):
            x = block(x, condition=condition, rotary=rotary, cache=cache, layer=number)
        if cache is not None:
            cache.length += x.shape[1]
        return self.norm(x)


def sincos(shape: tuple[int, ...], width: int) -> Tensor:
    """Fixed sine-cosine positions `[N, D]`: the width is split over the axes (Vaswani et al. 2017, one per axis)."""
    places = coordinates(shape).double()
    pairs = [width // 2 // len(shape)] * len(shape)
    pairs[0] += width // 2 - sum(pairs)
    parts = []
    for axis, count in enumerate(pairs):
        angles = places[:, axis, None] * 10000.0 ** (-torch.arange(count).double() / max(count, 1))
        parts += [angles.sin(), angles.cos()]
    table = torch.cat(parts, dim=-1)
    return F.pad(table, (0, width - table.shape[-1])).float()
