"""Space to depth and back, in any rank and channels-last in memory."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..memory_format import Layout
from ..spec import SignalSpec
from .patch_config import PatchConfig


def space_to_depth(x: Tensor, factors: Sequence[int]) -> Tensor:
    """`[B, C, *(n_i * f_i)]` to `[B, prod(f) * C, *n]`; the channel index runs over the patch, then over C."""
    batch, channels, *sizes = x.shape
    rank = len(factors)
    split = [part for size, factor in zip(sizes, factors, strict=True) for part in (size // factor, factor)]
    patches = x.movedim(1, -1).reshape(batch, *split, channels)
    order = [0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1]
    return patches.permute(order).flatten(rank + 1).movedim(-1, 1)


def depth_to_space(x: Tensor, factors: Sequence[int]) -> Tensor:
    """The inverse of `space_to_depth`: `[B, prod(f) * C, *n]` to `[B, C, *(n_i * f_i)]`."""
    batch, _, *sizes = x.shape
    rank = len(factors)
    patches = x.movedim(1, -1).reshape(batch, *sizes, *factors, -1)
    order = [0, *(axis for i in range(rank) for axis in (1 + i, 1 + rank + i)), 2 * rank + 1]
    merged = [size * factor for size, factor in zip(sizes, factors, strict=True)]
    return patches.permute(order).reshape(batch, *merged, -1).movedim(-1, 1)


class DepthToSpace(nn.Module):
    """`depth_to_space` as a module: the upsampling of a sub-pixel convolution."""

    def __init__(self, factors: Sequence[int]) -> None:
        super().__init__()
        self.factors = tuple(factors)
        self.layout = Layout(len(self.factors), channels_last=None)

    def forward(self, features: Tensor) -> Tensor:
        """`[B, prod(f) * C, *grid]` to `[B, C, *signal]`."""
        upsampled: Tensor = self.layout(depth_to_space(features, self.factors))
        return upsampled


class PatchEncoder(nn.Module):
    """`space_to_depth` as an encoder."""

    def __init__(self, config: PatchConfig, signal: SignalSpec, downsample: tuple[int, ...]) -> None:
        super().__init__()
        self.factors = downsample

    def forward(self, signal: Tensor) -> Tensor:
        """`[B, C, *signal]` to `[B, prod(f) * C, *grid]`."""
        return space_to_depth(signal, self.factors)


class PatchDecoder(DepthToSpace):
    """`depth_to_space` as a decoder."""

    def __init__(self, config: PatchConfig, signal: SignalSpec, downsample: tuple[int, ...]) -> None:
        super().__init__(downsample)
