"""Configurations of the backbones: what maps a signal to features on the latent grid, and back. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .. import cost
from ..cost import Cost
from ..geometry import Layout, grid_shape
from ..part import Part
from ..registry import Registry
from ..spec import SignalSpec
from .stages import Stage, plan_stages

if TYPE_CHECKING:
    from torch import nn

    from .shortcut import Shortcut

BACKBONES = Registry(
    "backbone",
    "latentbench.backbones",
    {
        "conv": "tokenizers.backbones.config:ConvConfig",
        "patch": "tokenizers.backbones.config:PatchConfig",
        "vit": "tokenizers.backbones.vit_config:ViTConfig",
    },
)


class BackboneConfig(Part):
    """Both halves of an autoencoder without its bottleneck: `[B, C, *signal]` <-> `[B, features, *grid]`."""

    def layout(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Layout:
        """Where the features lie. Raises ValueError when the signal's axes can't be downsampled so."""
        return Layout(shape=grid_shape(signal, downsample))

    def features(self, signal: SignalSpec, downsample: tuple[int, ...]) -> int:
        """Channels that the encoder gives and the decoder takes."""
        raise NotImplementedError

    def has_shortcut(self) -> bool:
        """Whether a linear shortcut runs around this half of the autoencoder (see `shortcut.LinearShortcut`)."""
        return False

    def build_shortcut(self, signal: SignalSpec, downsample: tuple[int, ...], latents: int) -> Shortcut | None:
        """That shortcut, between signals and `latents` channels per position; by default one of patches.

        None where so many channels can't have one.
        """
        from .shortcut import LinearShortcut

        return LinearShortcut(downsample, channels=signal.channels, latents=latents)

    def shortcut_cost(self, signal: SignalSpec, downsample: tuple[int, ...], latents: int) -> Cost:
        """Parameters and FLOPs of the shortcut, there and back."""
        patch, shape = math.prod(downsample) * signal.channels, grid_shape(signal, downsample)
        return cost.pointwise(patch, latents, shape) + cost.pointwise(latents, patch, shape)

    def build_encoder(self, signal: SignalSpec, downsample: tuple[int, ...]) -> nn.Module:
        """`[B, C, *signal]` to `[B, features, *grid]`."""
        raise NotImplementedError

    def build_decoder(self, signal: SignalSpec, downsample: tuple[int, ...]) -> nn.Module:
        """`[B, features, *grid]` to `[B, C, *signal]`."""
        raise NotImplementedError

    def encoder_cost(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Cost:
        """Parameters and forward FLOPs of the encoder."""
        raise NotImplementedError

    def decoder_cost(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Cost:
        """Parameters and forward FLOPs of the decoder."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ConvConfig(BackboneConfig):
    """A convolutional residual autoencoder of any rank, after the LDM autoencoder (Rombach et al. 2022), unattended.

    Stage i has `width` x `multipliers[i]` channels (the last repeats) and `blocks` residual blocks. The first
    convolution strides by up to `stem` per axis, so that nothing runs at full resolution (the largest lever on a CPU;
    1 turns that off), later stages by up to `stride`; by default 2 and 2, and 4 and 8 on a waveform. Downsampling
    factors need not be powers of two. Group norms have up to `groups` groups. With `shortcut` a linear map of patches
    runs around either half, started at their PCA, and the halves themselves start at zero: small budgets then end above
    the linear autoencoder instead of below it.
    """

    kind: ClassVar[str] = "conv"
    version: ClassVar[int] = 1

    width: int = 32
    multipliers: tuple[int, ...] = (1, 2, 4)
    blocks: int = 1
    stem: int | None = None
    stride: int | None = None
    groups: int = 8
    shortcut: bool = True

    def __post_init__(self) -> None:
        for name in ("width", "groups", "stem"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.blocks < 0:
            raise ValueError("blocks must be at least 0")
        if self.stride is not None and self.stride < 2:
            raise ValueError("stride must be at least 2")
        if not self.multipliers or min(self.multipliers) < 1:
            raise ValueError("multipliers must be one or more whole numbers >= 1")

    def has_shortcut(self) -> bool:
        return self.shortcut

    def stages(self, signal: SignalSpec, downsample: tuple[int, ...]) -> tuple[Stage, ...]:
        """Strides, widths and grids from the signal inwards; the first is the stem."""
        waveform = signal.modality.rank == 1
        return plan_stages(
            signal.shape,
            downsample,
            widths=[self.width * m for m in self.multipliers],
            stem=self.stem if self.stem is not None else (4 if waveform else 2),
            stride=self.stride if self.stride is not None else (8 if waveform else 2),
        )

    def features(self, signal: SignalSpec, downsample: tuple[int, ...]) -> int:
        return self.stages(signal, downsample)[-1].width

    def build_encoder(self, signal: SignalSpec, downsample: tuple[int, ...]) -> nn.Module:
        from .conv import ConvEncoder

        return ConvEncoder(self.stages(signal, downsample), channels=signal.channels, config=self)

    def build_decoder(self, signal: SignalSpec, downsample: tuple[int, ...]) -> nn.Module:
        from .conv import ConvDecoder

        return ConvDecoder(self.stages(signal, downsample), channels=signal.channels, config=self)

    def encoder_cost(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Cost:
        total, width = Cost(), signal.channels
        for stage in self.stages(signal, downsample):
            total += cost.conv(width, stage.width, stage.kernel, stage.shape) + self._blocks_cost(stage)
            width = stage.width
        return total + cost.norm(width)

    def decoder_cost(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Cost:
        stages = self.stages(signal, downsample)
        total = Cost()
        for stage, outer in zip(reversed(stages), (*reversed(stages[:-1]), None), strict=True):
            total += self._blocks_cost(stage)
            outputs = (outer.width if outer else signal.channels) * math.prod(stage.stride)
            total += cost.conv(stage.width, outputs, (3,) * len(stage.shape), stage.shape)
        return total + cost.norm(stages[0].width)

    def _blocks_cost(self, stage: Stage) -> Cost:
        half = cost.norm(stage.width) + cost.conv(stage.width, stage.width, (3,) * len(stage.shape), stage.shape)
        total = Cost()
        for _ in range(2 * self.blocks):
            total += half
        return total


@dataclass(frozen=True, kw_only=True)
class PatchConfig(BackboneConfig):
    """Space to depth: each patch of the downsampling's size becomes one position's features. No parameters."""

    kind: ClassVar[str] = "patch"
    version: ClassVar[int] = 1

    def features(self, signal: SignalSpec, downsample: tuple[int, ...]) -> int:
        return signal.channels * math.prod(downsample)

    def build_encoder(self, signal: SignalSpec, downsample: tuple[int, ...]) -> nn.Module:
        from .patch import SpaceToDepth

        return SpaceToDepth(downsample)

    def build_decoder(self, signal: SignalSpec, downsample: tuple[int, ...]) -> nn.Module:
        from .patch import DepthToSpace

        return DepthToSpace(downsample)

    def encoder_cost(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Cost:
        return Cost()

    def decoder_cost(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Cost:
        return Cost()
