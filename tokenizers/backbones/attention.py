"""What transformers are made of, here and in the priors: fused attention, MLPs, positions on grids of any rank.

Shape legend: B batch, N positions, D width, h attention heads, d = D / h, R rank of the grid.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Rotary = tuple[Tensor, Tensor]


class MLP(nn.Module):
    """Two linear layers with a GELU of `inner` (None: 4 x width) between them."""

    def __init__(self, width: int, inner: int | None = None) -> None:
        super().__init__()
        inner = 4 * width if inner is None else inner
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., D]` to the same."""
        return self.down(F.gelu(self.up(x)))


class SelfAttention(nn.Module):
    """Multi-head self-attention over all positions, through `scaled_dot_product_attention`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, rotary: Rotary | None = None) -> Tensor:
        """`[B, N, D]` to the same; `rotary` are the angles of the N positions."""
        batch, length, width = x.shape
        query, key, value = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        if rotary is not None:
            query, key = rotate(query, rotary), rotate(key, rotary)
        out = F.scaled_dot_product_attention(query, key, value)
        return self.out(out.transpose(1, 2).reshape(batch, length, width))


class EncoderBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, bias=False, eps=1e-6)
        self.attention = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, bias=False, eps=1e-6)
        self.mlp = MLP(width, inner)

    def forward(self, x: Tensor, rotary: Rotary | None = None) -> Tensor:
        """`[B, N, D]` to the same."""
        x = x + self.attention(self.norm1(x), rotary)
        return x + self.mlp(self.norm2(x))


class TransformerEncoder(nn.Module):
    """`layers` blocks that see all positions, and a final norm."""

    def __init__(self, width: int, layers: int, heads: int, inner: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(EncoderBlock(width, heads, inner) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False, eps=1e-6)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                # By fan-in, since small widths learn nothing from 0.02 in a short training; branches by depth (GPT-2).
                std = 1 / math.sqrt(module.in_features)
                if name.endswith(("attention.out", "mlp.down")):
                    std /= math.sqrt(2 * layers)
                nn.init.normal_(module.weight, std=std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, rotary: Rotary | None = None) -> Tensor:
        """`[B, N, D]` to the same."""
        for block in self.blocks:
            x = block(x, rotary)
        return self.norm(x)


def coordinates(shape: tuple[int, ...]) -> Tensor:
    """Integer coordinates `[N, R]` of a grid's positions in raster order."""
    axes = torch.meshgrid(*(torch.arange(size) for size in shape), indexing="ij")
    return torch.stack([axis.flatten() for axis in axes], dim=-1)


class AxialEmbedding(nn.Module):
    """Learned positions: the sum of one embedding per axis, `[N, D]` in raster order."""

    def __init__(self, shape: tuple[int, ...], width: int, *, std: float = 0.02) -> None:
        super().__init__()
        self.shape, self.width = shape, width
        self.axes = nn.ParameterList(nn.Parameter(torch.randn(size, width) * std) for size in shape)

    def forward(self) -> Tensor:
        """All positions, `[N, D]`."""
        total: Tensor | int = 0
        for number, axis in enumerate(self.axes):
            total = total + axis.view(*(-1 if i == number else 1 for i in range(len(self.shape))), self.width)
        assert isinstance(total, Tensor)
        return total.reshape(-1, self.width)


def rotary_angles(shape: tuple[int, ...], dim: int, *, base: float = 10000.0) -> Rotary:
    """Cosines and sines `[N, d / 2]` of axial rotary positions: pairs of channels split over the axes.

    Su et al. 2021, with the angles of each axis on its own channels.
    """
    places = coordinates(shape).double()
    pairs = dim // 2
    per_axis = -(-pairs // len(shape))
    frequencies = base ** (-torch.arange(per_axis).double() / per_axis)
    # interleaved, so that every axis has its fast frequencies even where they don't divide evenly
    angles = (places[:, None, :] * frequencies[None, :, None]).flatten(1)[:, :pairs]
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """Turn the channel pairs (i, i + d/2) of `[B, h, N, d]` by the angles of their positions."""
    cos, sin = rotary
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)
