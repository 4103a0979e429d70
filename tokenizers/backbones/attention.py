"""What transformers are made of, here and in the priors: attention with a cache, MLPs, positions on grids of any rank.

Shape legend: B batch, N positions, D width, h attention heads, d = D / h, R rank of the grid.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..recompute import RecomputedBlock

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


class KVCache:
    """Keys and values of all layers for up to `length` positions, allocated once: `[L, B, h, N, d]`."""

    def __init__(self, layers: int, batch: int, heads: int, length: int, dim: int, like: Tensor) -> None:
        self.keys = like.new_empty(layers, batch, heads, length, dim)
        self.values = like.new_empty(layers, batch, heads, length, dim)
        self.length = 0

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store `[B, h, n, d]` at the next positions of `layer`; all keys and values so far, as views."""
        end = self.length + key.shape[2]
        self.keys[layer, :, :, self.length : end] = key
        self.values[layer, :, :, self.length : end] = value
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


class Attention(nn.Module):
    """Multi-head self-attention through `scaled_dot_product_attention`; causal, or over all positions."""

    def __init__(self, width: int, heads: int, *, causal: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.causal, self.dropout = heads, causal, dropout
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self, x: Tensor, *, rotary: Rotary | None = None, cache: KVCache | None = None, layer: int = 0
    ) -> Tensor:
        """`[B, N, D]` to the same; `rotary` are the angles of the N positions.

        With `cache`, x is the next positions alone and attends to all cached ones too.
        """
        batch, length, width = x.shape
        # chunks of the last axis: their gradients are put together in one copy, not in two
        parts = self.qkv(x).chunk(3, dim=-1)
        query, key, value = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in parts)
        if rotary is not None:
            query, key = rotate(query, rotary), rotate(key, rotary)
        if cache is not None:
            if length > 1 and cache.length > 0:
                raise ValueError("a cache takes several positions at once only while it is empty")
            key, value = cache.extend(layer, key, value)
        out = self.attend(query, key, value)
        return self.out(out.transpose(1, 2).reshape(batch, length, width))

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """What the queries `[B, h, n, d]` read of keys and values `[B, h, N, d]`, shaped like the queries.

        The queries are all positions (n = N), or with a cache the last one; where causal, each reads up to itself.
        """
        return self.product(query, key, value, causal=self.causal and query.shape[2] > 1)

    def product(
        self, query: Tensor, key: Tensor, value: Tensor, *, causal: bool = False, mask: Tensor | None = None
    ) -> Tensor:
        """`scaled_dot_product_attention` with this layer's dropout; `mask` is True where a query sees a key."""
        dropout = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal, dropout_p=dropout)


class Block(RecomputedBlock):
    """x + attention(norm(x)), then x + mlp(norm(x)), the MLP of `inner` (None: 4 x width).

    With `condition` (a width), shift, scale and gate of both branches come from a conditioning vector through a
    zero-initialised layer: the block starts as the identity (adaLN-zero; Peebles & Xie 2023, section 3.2). `attention`
    is another layer of the same `width` and `heads` in the place of `Attention(width, heads, causal, dropout)`.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        inner: int | None = None,
        causal: bool = False,
        dropout: float = 0.0,
        condition: int | None = None,
        attention: Attention | None = None,
    ) -> None:
        super().__init__()
        affine = condition is None
        self.norm1 = nn.LayerNorm(width, elementwise_affine=affine, bias=False, eps=1e-6)
        self.attention = attention or Attention(width, heads, causal=causal, dropout=dropout)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=affine, bias=False, eps=1e-6)
        self.mlp = MLP(width, inner)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.modulation = nn.Linear(condition, 6 * width) if condition is not None else None

    def forward(
        self,
        x: Tensor,
        *,
        condition: Tensor | None = None,
        rotary: Rotary | None = None,
        cache: KVCache | None = None,
        layer: int = 0,
    ) -> Tensor:
        """`[B, N, D]` to the same; `condition` is `[B, D']` with its non-linearity applied."""
        if self.modulation is None:
            x = x + self.dropout(self.attention(self.norm1(x), rotary=rotary, cache=cache, layer=layer))
            return x + self.dropout(self.mlp(self.norm2(x)))
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition).unsqueeze(1).chunk(6, dim=-1)
        inner = self.attention(modulate(self.norm1(x), shift1, scale1), rotary=rotary, cache=cache, layer=layer)
        x = torch.addcmul(x, gate1, self.dropout(inner))
        return torch.addcmul(x, gate2, self.dropout(self.mlp(modulate(self.norm2(x), shift2, scale2))))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (1 + scale) + shift; shapes `[B, N, D]`, `[B, 1, D]`."""
    return torch.addcmul(shift, x, 1 + scale)


class TransformerEncoder(nn.Module):
    """`layers` blocks that see all positions, and a final norm."""

    def __init__(self, width: int, layers: int, heads: int, inner: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, inner=inner) for _ in range(layers))
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
            x = block(x, rotary=rotary)
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

    def angles(self, start: int = 0, end: int | None = None) -> None:
        """None: learned positions are added to the input, and attention rotates nothing."""


class RotaryPositions(nn.Module):
    """Positions as angles by which attention rotates queries and keys; `unplaced` further inputs have angle 0."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: tuple[int, ...], dim: int, *, unplaced: int = 0) -> None:
        super().__init__()
        cos, sin = rotary_angles(shape, dim)
        zeros = torch.zeros(unplaced, cos.shape[1])
        self.register_buffer("cos", torch.cat((cos, zeros + 1)), persistent=False)
        self.register_buffer("sin", torch.cat((sin, zeros)), persistent=False)

    def forward(self) -> None:
        """None: nothing is added to the input."""

    def angles(self, start: int = 0, end: int | None = None) -> Rotary:
        """Cosines and sines of the positions `start` to `end` (None: the last)."""
        return self.cos[start:end], self.sin[start:end]


def positions_of(
    kind: str, shape: tuple[int, ...], width: int, heads: int, *, std: float = 0.02, unplaced: int = 0
) -> AxialEmbedding | RotaryPositions:
    """Positions of `kind` "learned" or "rotary", behind one interface.

    Calling them gives what is added to a network's inputs; `angles` gives what its attention rotates by. One of the
    two is None.
    """
    if kind == "learned":
        return AxialEmbedding(shape, width, std=std)
    return RotaryPositions(shape, width // heads, unplaced=unplaced)


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
