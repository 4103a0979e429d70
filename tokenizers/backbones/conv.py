"""One convolutional residual autoencoder for signals of rank 1 to 3.

Residual blocks follow the LDM autoencoder (Rombach et al. 2022, arXiv 2112.10752): group norm, SiLU, convolution,
twice, the last convolution starting at zero. Upsampling is a sub-pixel convolution (Shi et al. 2016).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from ..memory_format import GroupNorm, Layout, to_channels_last
from ..recompute import RecomputedBlock
from ..spec import SignalSpec
from .causal import CausalConv, CausalDepthToSpace, FrameNorm
from .conv_config import ConvConfig, middle_channels
from .layers import zero_last_layer
from .patch import DepthToSpace

_CONV: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def conv(
    inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int] | None = None, *, causal: bool = False
) -> nn.Module:
    """A convolution of rank `len(kernel)` (odd sizes) whose output has the input's size divided by `stride`."""
    if causal:
        return CausalConv(inputs, outputs, kernel, stride or (1, 1, 1))
    padding = [size // 2 for size in kernel]
    return _CONV[len(kernel)](inputs, outputs, tuple(kernel), tuple(stride or (1,) * len(kernel)), tuple(padding))  # type: ignore[arg-type]


class FactorisedConv(nn.Sequential):
    """A convolution of every frame, SiLU, and one along time: R(2+1)D (Tran et al. 2018, arXiv 1711.11248, 3.5).

    Between them are as many channels as give it the parameters of a full 3-d convolution.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int], *, causal: bool
    ) -> None:
        middle = middle_channels(inputs, outputs, kernel)
        super().__init__(
            conv(inputs, middle, (1, *kernel[1:]), (1, *stride[1:]), causal=causal),
            nn.SiLU(),
            conv(middle, outputs, (kernel[0], 1, 1), (stride[0], 1, 1), causal=causal),
        )


def layer(
    config: ConvConfig, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int] | None = None
) -> nn.Module:
    """A convolution as the configuration has them: of frames alone, causal, factorised, or none of these."""
    kernel = config.kernel(kernel)
    if config.factorised:
        return FactorisedConv(inputs, outputs, kernel, stride or (1, 1, 1), causal=config.causal)
    return conv(inputs, outputs, kernel, stride, causal=config.causal)


def pointwise(inputs: int, outputs: int, rank: int) -> nn.Module:
    """A 1x1 convolution of the given rank."""
    return to_channels_last(conv(inputs, outputs, (1,) * rank), rank)


def group_norm(width: int, groups: int, *, by_frame: bool = False) -> nn.GroupNorm:
    """Group norm with the largest number of groups, up to `groups`, that divides `width` evenly."""
    return (FrameNorm if by_frame else GroupNorm)(math.gcd(width, groups), width, eps=1e-6)


class ResidualBlock(RecomputedBlock):
    """`[B, width, *grid]` to the same shape; the identity at the start of training."""

    def __init__(self, width: int, rank: int, config: ConvConfig) -> None:
        super().__init__()
        kernel, groups, by_frame = (3,) * rank, config.groups, config.by_frame
        self.norm1 = group_norm(width, groups, by_frame=by_frame)
        self.conv1 = layer(config, width, width, kernel)
        self.norm2 = group_norm(width, groups, by_frame=by_frame)
        self.conv2 = layer(config, width, width, kernel)
        zero_last_layer(self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, width, *grid]` to the same shape."""
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))


class ConvEncoder(nn.Module):
    """`[B, C, *signal]` to `[B, features, *grid]`."""

    def __init__(self, config: ConvConfig, signal: SignalSpec, downsample: tuple[int, ...]) -> None:
        super().__init__()
        along, _ = config.seen(signal, downsample)
        self.rank, self.row = len(along.shape), config.bands == "channels"
        layers: list[nn.Module] = []
        width = along.channels
        for stage in config.stages(signal, downsample):
            layers.append(layer(config, width, stage.width, stage.kernel, stage.stride))
            width = stage.width
            layers.extend(ResidualBlock(width, self.rank, config) for _ in range(config.blocks))
        layers += [group_norm(width, config.groups, by_frame=config.by_frame), nn.SiLU()]
        self.layers = nn.Sequential(*layers)
        self.layout = Layout(self.rank)
        to_channels_last(self, self.rank)

    def forward(self, signal: Tensor) -> Tensor:
        """`[B, C, *signal]` to `[B, features, *grid]`."""
        if self.row:
            row: Tensor = self.layers(self.layout(signal.flatten(1, 2)))
            return row.unsqueeze(2)
        return self.layers(self.layout(signal))


class ConvDecoder(nn.Module):
    """`[B, features, *grid]` to `[B, C, *signal]`: the encoder's stages in reverse."""

    def __init__(self, config: ConvConfig, signal: SignalSpec, downsample: tuple[int, ...]) -> None:
        super().__init__()
        along, _ = config.seen(signal, downsample)
        rank, stages, causal = len(along.shape), config.stages(signal, downsample), config.causal
        self.row = (signal.channels, signal.shape[0]) if config.bands == "channels" else None
        layers: list[nn.Module] = []
        for index in reversed(range(len(stages))):
            stage = stages[index]
            layers.extend(ResidualBlock(stage.width, rank, config) for _ in range(config.blocks))
            if index == 0:
                layers += [group_norm(stage.width, config.groups, by_frame=config.by_frame), nn.SiLU()]
            outputs = stages[index - 1].width if index else along.channels
            layers.append(layer(config, stage.width, outputs * math.prod(stage.stride), (3,) * rank))
            layers.append((CausalDepthToSpace if causal else DepthToSpace)(stage.stride))
        self.layers = nn.Sequential(*layers)
        self.layout = Layout(rank, channels_last=None)  # on a CPU as it comes from the bottleneck
        to_channels_last(self, rank)

    def forward(self, features: Tensor) -> Tensor:
        """`[B, features, *grid]` to `[B, C, *signal]`."""
        if self.row is not None:
            row: Tensor = self.layers(self.layout(features.squeeze(2)))
            return row.unflatten(1, self.row)
        return self.layers(self.layout(features))
