"""An N-d U-Net with time conditioning: the denoiser of Ho et al. (2020) in any rank.

Residual blocks with scale and shift from the time after the second norm (Dhariwal & Nichol 2021), one skip connection
per level, self-attention at the coarsest level, sub-pixel convolutions upwards.

Shape legend: B batch, C channels, *grid the latents' axes, E embedding width.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from ...tokenizers.backbones.attention import Attention
from ...tokenizers.backbones.conv import conv, group_norm
from ...tokenizers.backbones.patch import depth_to_space
from ...tokenizers.backbones.stages import Stage
from ...tokenizers.backbones.time import TimeBlock, TimeEmbedding
from ...tokenizers.memory_format import Layout, to_channels_last
from ...tokenizers.recompute import RecomputedBlock
from ...tokenizers.spec import LatentSpec
from .diffusion_config import TIME_FEATURES
from .unet_config import UNetConfig


class UNet(nn.Module):
    """What is predicted from noisy latents and their time; zero at the start of training."""

    def __init__(self, config: UNetConfig, spec: LatentSpec) -> None:
        super().__init__()
        channels, levels = config.patch_elements(spec), config.levels(spec)
        blocks, groups = config.blocks, config.groups
        self.rank = len(levels[0].shape)
        kernel = (3,) * self.rank

        def block(inputs: int, width: int) -> TimeBlock:
            options = {"groups": groups, "embedding": config.embedding, "dropout": config.dropout}
            return TimeBlock(inputs, width, self.rank, **options)  # type: ignore[arg-type]

        self.time = TimeEmbedding(config.embedding, features=TIME_FEATURES)
        self.stem = conv(channels, levels[0].width, kernel)
        self.levels = nn.ModuleList(nn.ModuleList(block(s.width, s.width) for _ in range(blocks)) for s in levels)
        self.downs = nn.ModuleList()
        self.ups = nn.ModuleList()
        self.upsamples = nn.ModuleList()
        for outer, inner in pairwise(levels):
            self.downs.append(conv(outer.width, inner.width, inner.kernel, inner.stride))
            self.upsamples.append(Upsample(inner, outer))
            up = [block(2 * outer.width, outer.width), *(block(outer.width, outer.width) for _ in range(blocks - 1))]
            self.ups.append(nn.ModuleList(up))
        coarse = levels[-1].width
        self.middle = nn.ModuleList([block(coarse, coarse), block(coarse, coarse)])
        heads = config.heads_for(levels)
        self.attention = GridAttention(coarse, heads, groups) if heads else None
        last = conv(levels[0].width, channels, kernel)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.out = nn.Sequential(group_norm(levels[0].width, groups), nn.SiLU(), last)
        self.layout = Layout(self.rank)
        to_channels_last(self, self.rank)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """`[B, C, *grid]` and times `[B]` to the shape of x; `condition` `[B, E]` is added to the time's embedding."""
        embedding = self.time(t, condition)
        x = self.stem(self.layout(x))
        skips: list[Tensor] = []
        for number, blocks in enumerate(self.levels):
            if number:
                x = self.downs[number - 1](x)
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, embedding)
            skips.append(x)
        x = self.middle[0](x, embedding)
        if self.attention is not None:
            x = self.attention(x)
        x = self.middle[1](x, embedding)
        for number in reversed(range(len(self.ups))):
            x = torch.cat((self.upsamples[number](x), skips[number]), dim=1)
            for block in self.ups[number]:  # type: ignore[attr-defined]
                x = block(x, embedding)
        return self.out(x)


class GridAttention(RecomputedBlock):
    """x + attention over all positions of the grid."""

    def __init__(self, width: int, heads: int, groups: int) -> None:
        super().__init__()
        self.norm = group_norm(width, groups)
        self.attention = Attention(width, heads, causal=False)
        nn.init.zeros_(self.attention.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, *grid]` to the same."""
        tokens = self.attention(self.norm(x).flatten(2).transpose(1, 2))
        return x + tokens.transpose(1, 2).reshape(x.shape)


class Upsample(nn.Module):
    """From a level to the next finer one: a sub-pixel convolution, cut to the finer grid where sizes are odd."""

    def __init__(self, inner: Stage, outer: Stage) -> None:
        super().__init__()
        self.stride, self.shape = inner.stride, outer.shape
        self.conv = conv(inner.width, outer.width * math.prod(inner.stride), (3,) * len(inner.shape))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C_inner, *inner]` to `[B, C_outer, *outer]`."""
        x = depth_to_space(self.conv(x), self.stride)
        for axis, size in enumerate(self.shape):
            x = x.narrow(2 + axis, 0, size)
        return x
