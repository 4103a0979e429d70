"""Dilated gated convolutions over one axis: non-causal with a time (DiffWave), causal with a cache (WaveNet).

van den Oord et al. 2016 (WaveNet), Kong et al. 2021 (DiffWave). Shape legend: B batch, C channels, N positions, W
width, E embedding width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...tokenizers.recompute import RecomputedBlock


class DilatedLayer(RecomputedBlock):
    """tanh(a) sigmoid(b) of a dilated convolution; its projection goes to the residual path and to the skips.

    Non-causal with a kernel of 3, causal (sees its own position and one before it) with a kernel of 2. `embedding` is
    the width of a conditioning vector, None for none.
    """

    def __init__(self, width: int, dilation: int, *, causal: bool, embedding: int | None, dropout: float = 0.0) -> None:
        super().__init__()
        self.dilation, self.causal = dilation, causal
        self.condition = nn.Linear(embedding, width) if embedding is not None else None
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        padding = 0 if causal else dilation
        self.conv = nn.Conv1d(width, 2 * width, 2 if causal else 3, dilation=dilation, padding=padding)
        self.out = nn.Conv1d(width, 2 * width, 1)

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`[B, W, N]` to the next layer's input and the skip, both `[B, W, N]`."""
        h = x if self.condition is None else x + self.condition(embedding)[:, :, None]
        h = self.dropout(h)
        h = self.conv(F.pad(h, (self.dilation, 0)) if self.causal else h)
        return self._leave(x, self.out(_gate(h, 1)))

    def step(self, x: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """One position of the causal layer: x `[B, W]` and its input one dilation `before` `[B, W]`."""
        weight = self.conv.weight
        h = F.linear(x, weight[:, :, 1], self.conv.bias) + F.linear(before, weight[:, :, 0])
        return self._leave(x, F.linear(_gate(h, 1), self.out.weight[:, :, 0], self.out.bias))

    @staticmethod
    def _leave(x: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
        residual, skip = out.chunk(2, dim=1)
        return (x + residual) * math.sqrt(0.5), skip


def _gate(h: Tensor, dim: int) -> Tensor:
    value, gate = h.chunk(2, dim=dim)
    return torch.tanh(value) * torch.sigmoid(gate)


class DilatedStack(nn.Module):
    """`layers` gated layers whose dilations double from 1 and start over every `cycle`; the sum of their skips."""

    def __init__(
        self, width: int, layers: int, cycle: int, *, causal: bool, embedding: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.width = width
        self.dilations = [2 ** (i % cycle) for i in range(layers)]
        stack = [
            DilatedLayer(width, dilation, causal=causal, embedding=embedding, dropout=dropout)
            for dilation in self.dilations
        ]
        self.layers = nn.ModuleList(stack)

    @property
    def receptive_field(self) -> int:
        """Positions that reach one output of the causal stack, itself included."""
        return 1 + sum(self.dilations)

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """`[B, W, N]` to the same."""
        total: Tensor | None = None
        for layer in self.layers:
            x, skip = layer(x, embedding)
            total = skip if total is None else total + skip
        assert total is not None
        return total * math.sqrt(1 / len(self.layers))

    def cache(self, batch: int, length: int) -> Tensor:
        """Room for the layers' inputs at `length` positions, `[L, N, B, W]`."""
        like = next(self.parameters())
        return like.new_zeros(len(self.layers), length, batch, self.width)

    def step(self, x: Tensor, position: int, cache: Tensor) -> Tensor:
        """The causal stack at one position: `[B, W]` to `[B, W]`; keeps the inputs in `cache` for later ones."""
        total: Tensor | None = None
        for number, layer in enumerate(self.layers):
            cache[number, position] = x
            before = position - self.dilations[number]
            past = cache[number, before] if before >= 0 else torch.zeros_like(x)
            x, skip = layer.step(x, past)  # type: ignore[operator]
            total = skip if total is None else total + skip
        assert total is not None
        return total * math.sqrt(1 / len(self.layers))
