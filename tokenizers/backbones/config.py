"""What configurations of backbones share, and the registry of them. No torch.

A backbone maps a signal to features on the latent grid, and back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from .. import cost
from ..cost import Cost
from ..geometry import Layout, grid_shape
from ..part import Part
from ..registry import Registry
from ..spec import SignalSpec


@dataclass(frozen=True, kw_only=True)
class PieceGeometry:
    """How a long signal is coded in pieces of its time axis.

    `first` is how many of its positions make the first latent position. `encoder` and `decoder` are the latent
    positions on either side of a piece that each half must see for the piece to be what it is in the whole; with 0 the
    layers carry what they need from one piece to the next.
    """

    first: int
    encoder: int = 0
    decoder: int = 0


class BackboneConfig(Part):
    """Both halves of an autoencoder without its bottleneck: `[B, C, *signal]` <-> `[B, features, *grid]`.

    `encoder` and `decoder` are the targets of the two halves ("module:Class", or a class), constructed with the
    configuration, the signal and its downsampling; `shortcut_target` is that of the linear shortcut around them. One
    that does not `decode` has no second half, and needs another backbone's.
    """

    encoder: ClassVar[str | type]
    decoder: ClassVar[str | type]
    shortcut_target: ClassVar[str | type] = "shortcut:LinearShortcut"
    decodes: ClassVar[bool] = True

    def unsupported_reason(self, signal: SignalSpec) -> str | None:
        """Why it can't be used for such signals, in one line; None where it can."""
        return None

    def weights(self) -> tuple[str, ...]:
        """Names of the weights files that it needs (see `tokenizers/weights.py`)."""
        return ()

    def factors(self, signal: SignalSpec, downsample: tuple[int, ...]) -> tuple[int, ...]:
        """The factors by which it downsamples where `downsample` are asked for. Raises ValueError for what it can't."""
        return downsample

    def layout(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Layout:
        """Where the features lie. Raises ValueError when the signal's axes can't be downsampled so."""
        return Layout(shape=grid_shape(signal, downsample))

    def features(self, signal: SignalSpec, downsample: tuple[int, ...]) -> int:
        """Channels that the encoder gives and the decoder takes."""
        raise NotImplementedError

    def piece_geometry(self, signal: SignalSpec, downsample: tuple[int, ...]) -> PieceGeometry:
        """How long signals are coded in pieces. Raises ValueError with the reason where a latent may see all of one."""
        raise ValueError("nothing says that a latent sees a part of the signal alone")

    def has_shortcut(self) -> bool:
        """Whether a linear shortcut runs around this half of the autoencoder (see `shortcut.LinearShortcut`)."""
        return False

    def build_shortcut(self, signal: SignalSpec, downsample: tuple[int, ...], latents: int) -> Any:
        """That shortcut, between signals and `latents` channels per position; by default one of patches.

        None where so many channels can't have one.
        """
        return self._resolve("shortcut_target")(self, signal, downsample, latents)

    def shortcut_cost(self, signal: SignalSpec, downsample: tuple[int, ...], latents: int) -> Cost:
        """Parameters and FLOPs of the shortcut, both ways."""
        patch, shape = math.prod(downsample) * signal.channels, grid_shape(signal, downsample)
        return cost.pointwise(patch, latents, shape) + cost.pointwise(latents, patch, shape)

    def build_encoder(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Any:
        """The module from `[B, C, *signal]` to `[B, features, *grid]`."""
        return self._resolve("encoder")(self, signal, downsample)

    def build_decoder(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Any:
        """The module from `[B, features, *grid]` to `[B, C, *signal]`."""
        return self._resolve("decoder")(self, signal, downsample)

    def encoder_cost(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Cost:
        """Parameters and forward FLOPs of the encoder."""
        raise NotImplementedError

    def decoder_cost(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Cost:
        """Parameters and forward FLOPs of the decoder."""
        raise NotImplementedError


BACKBONES = Registry(
    "backbone",
    "latentbench.backbones",
    {
        "conv": "tokenizers.backbones.conv_config:ConvConfig",
        "frozen": "tokenizers.backbones.frozen_config:FrozenConfig",
        "patch": "tokenizers.backbones.patch_config:PatchConfig",
        "seanet": "tokenizers.backbones.seanet_config:SEANetConfig",
        "vit": "tokenizers.backbones.vit_config:ViTConfig",
    },
    base=BackboneConfig,
)
