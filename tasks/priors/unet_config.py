"""Options of the U-Net diffusion. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ...tokenizers import cost
from ...tokenizers.backbones.stages import Stage
from ...tokenizers.spec import LatentSpec
from .diffusion_config import TIME_FEATURES, DiffusionPriorConfig
from .patches import counts


@dataclass(frozen=True, kw_only=True)
class UNetConfig(DiffusionPriorConfig):
    """Diffusion with an N-d U-Net over continuous grids of 1 to 3 axes.

    `width` times `multipliers` are the channels per level, each level half the resolution of the one before (axes
    shorter than 4 stay); `blocks` residual blocks per level on the way down and up; `attention_heads` of self-attention
    at the coarsest level (0: none; also none where it has more than 1,024 positions). All else is as in
    `DiffusionPriorConfig`.
    """

    kind: ClassVar[str] = "unet"
    version: ClassVar[int] = 1
    network: ClassVar[str | type] = "unet:UNet"
    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "xs": {"width": 24, "multipliers": [1, 2, 2], "blocks": 1, "attention_heads": 2},
        "s": {"width": 48, "multipliers": [1, 2, 3], "blocks": 2, "attention_heads": 4},
        "m": {"width": 112, "multipliers": [1, 2, 4], "blocks": 2, "attention_heads": 8},
    }

    width: int = 32
    multipliers: tuple[int, ...] = (1, 2, 2)
    blocks: int = 1
    attention_heads: int = 4
    groups: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 1 or not self.multipliers or min(self.multipliers) < 1 or self.blocks < 1 or self.groups < 1:
            raise ValueError("width, multipliers, blocks and groups must be at least 1")
        if self.attention_heads < 0:
            raise ValueError("attention_heads must be at least 0")
        for factor in self.multipliers if self.attention_heads else ():
            if self.width * factor % self.attention_heads:
                raise ValueError(
                    f"width x multipliers must be multiples of the attention_heads ({self.attention_heads})"
                )

    @property
    def embedding(self) -> int:
        """Four times the width."""
        return 4 * self.width

    def levels(self, spec: LatentSpec) -> tuple[Stage, ...]:
        """Levels from the finest to the coarsest: the stride that leads into each, its width and its grid."""
        shape = self.patches_for(spec)
        levels = [Stage(stride=(1,) * len(shape), width=self.width * self.multipliers[0], shape=shape)]
        for factor in self.multipliers[1:]:
            stride = tuple(2 if size >= 4 else 1 for size in shape)
            if max(stride) == 1:
                break
            shape = counts(shape, stride)
            levels.append(Stage(stride=stride, width=self.width * factor, shape=shape))
        return tuple(levels)

    def heads_for(self, levels: tuple[Stage, ...]) -> int:
        """Attention heads of the coarsest level, 0 for no attention."""
        return self.attention_heads if math.prod(levels[-1].shape) <= 1024 else 0

    def forward_flops(self, spec: LatentSpec) -> float:
        """Convolutions, attention and time conditioning of one sample."""
        levels, channels = self.levels(spec), self.patch_elements(spec)
        embedding = self.embedding
        kernel = (3,) * len(levels[0].shape)
        total = 2.0 * (TIME_FEATURES * embedding + embedding * embedding)

        def block(inputs: int, stage: Stage) -> float:
            skip = cost.pointwise(inputs, stage.width, stage.shape).flops if inputs != stage.width else 0.0
            convs = cost.conv(inputs, stage.width, kernel, stage.shape) + cost.conv(
                stage.width, stage.width, kernel, stage.shape
            )
            return convs.flops + skip + 2.0 * embedding * 2 * stage.width

        total += cost.conv(channels, levels[0].width, kernel, levels[0].shape).flops
        for index, stage in enumerate(levels):
            total += block(stage.width, stage) * self.blocks
            if index + 1 < len(levels):
                inner = levels[index + 1]
                total += cost.conv(stage.width, inner.width, inner.kernel, inner.shape).flops
                total += cost.conv(inner.width, stage.width * math.prod(inner.stride), kernel, inner.shape).flops
                total += block(2 * stage.width, stage) + block(stage.width, stage) * (self.blocks - 1)
        coarse = levels[-1]
        total += 2 * block(coarse.width, coarse)
        if self.heads_for(levels):
            n, d = math.prod(coarse.shape), coarse.width
            total += 8.0 * n * d * d + 4.0 * n * n * d
        return total + cost.conv(levels[0].width, channels, kernel, levels[0].shape).flops
