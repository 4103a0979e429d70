"""A small U-Net of any rank on patches of a signal: the network of the diffusion decoder.

Residual blocks modulated by the time (Dhariwal & Nichol 2021, arXiv 2105.05233), skip connections that are added,
sub-pixel convolutions on the way up. Space to depth comes first and its inverse last: nothing runs at full size.

Shape legend: B batch, C channels, *signal and *grid the axes of a signal and of a level, E embedding width.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..backbones.conv import conv, group_norm
from ..backbones.patch import DepthToSpace, depth_to_space, space_to_depth
from ..backbones.stages import Stage
from ..backbones.time import TimeBlock, TimeEmbedding, time_features
from ..memory_format import Layout, to_channels_last
from .diffusion_config import TIME_FEATURES, FlowDecoderConfig


class DecoderUNet(nn.Module):
    """From a noisy signal, a condition and a time to a tensor like the signal; zero at the start of training.

    With `reads_step_size` it also reads the size of the sampler's next step.
    """

    def __init__(
        self, config: FlowDecoderConfig, levels: tuple[Stage, ...], *, channels: int, reads_step_size: bool
    ) -> None:
        super().__init__()
        patch, rank = levels[0].stride, len(levels[0].shape)
        self.rank, self.patch = rank, patch
        elements, first = channels * math.prod(patch), levels[0].width

        def blocks(width: int) -> nn.ModuleList:
            options = {"groups": config.groups, "embedding": config.embedding}
            return nn.ModuleList(TimeBlock(width, width, rank, **options) for _ in range(config.blocks))

        self.time = TimeEmbedding(config.embedding, features=TIME_FEATURES)
        self.step_size = nn.Linear(TIME_FEATURES, config.embedding) if reads_step_size else None
        if self.step_size is not None:
            nn.init.zeros_(self.step_size.weight)
            nn.init.zeros_(self.step_size.bias)
        self.stem = conv(2 * elements, first, (3,) * rank)
        self.down_blocks = nn.ModuleList(blocks(level.width) for level in levels)
        self.downs = nn.ModuleList(conv(a.width, b.width, b.kernel, b.stride) for a, b in pairwise(levels))
        self.ups = nn.ModuleList(
            nn.Sequential(conv(b.width, a.width * math.prod(b.stride), (3,) * rank), DepthToSpace(b.stride))
            for a, b in pairwise(levels)
        )
        self.up_blocks = nn.ModuleList(blocks(level.width) for level in levels[:-1])
        last = conv(first, elements, (3,) * rank)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.out = nn.Sequential(group_norm(first, config.groups), nn.SiLU(), last)
        self.layout = Layout(rank)
        to_channels_last(self, rank)

    def forward(self, x: Tensor, condition: Tensor, t: Tensor, step_size: Tensor | None = None) -> Tensor:
        """`x` and `condition` `[B, C, *signal]`, times `t` and step sizes `[B]` to the shape of x."""
        h = space_to_depth(torch.cat([x, condition], dim=1), self.patch)
        added = None
        if self.step_size is not None and step_size is not None:
            added = self.step_size(time_features(step_size, TIME_FEATURES))
        embedding = self.time(t, added)
        h = self.stem(self.layout(h))
        skips: list[Tensor] = []
        for number, blocks in enumerate(self.down_blocks):
            if number:
                skips.append(h)
                h = self.downs[number - 1](h)
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, embedding)
        for number in reversed(range(len(self.ups))):
            h = skips[number] + self.ups[number](h)
            for block in self.up_blocks[number]:  # type: ignore[attr-defined]
                h = block(h, embedding)
        return depth_to_space(self.out(h), self.patch)
