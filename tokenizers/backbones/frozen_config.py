"""Configuration of the frozen backbone. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from ..cost import Cost
from ..geometry import grid_shape
from ..spec import Modality, SignalSpec
from ..target_sizes import mel_of, target_channels
from .config import BackboneConfig

_MOBILENET_V2 = 8365.0  # FLOPs per pixel, as torch counts them


@dataclass(frozen=True, kw_only=True)
class FrozenConfig(BackboneConfig):
    """A frozen net's features as the encoder's, averaged onto the latent grid; it has no decoder (RAE, A25).

    After Zheng et al. 2025 (arXiv 2510.11690). `net` "handmade" needs no weights: oriented gradients, local energy and
    brightness at three scales of images, frames and spectrograms, log-mel energies of waveforms. "mobilenet_v2", for
    images and frames, is the 96 channels of a 16th of the size, of pictures scaled to 16 pixels per position.
    """

    kind: ClassVar[str] = "frozen"
    version: ClassVar[int] = 2
    encoder: ClassVar[str | type] = "frozen:FrozenEncoder"
    decodes: ClassVar[bool] = False

    net: Literal["handmade", "mobilenet_v2"] = "handmade"

    def unsupported_reason(self, signal: SignalSpec) -> str | None:
        if self.net != "handmade" and signal.modality.is_audio:
            return f'net "{self.net}" is for images and frames, not {signal.modality}'
        return None

    def features(self, signal: SignalSpec, downsample: tuple[int, ...]) -> int:
        return target_channels(self.net, signal.modality)

    def encoder_cost(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Cost:
        if self.net == "handmade" and signal.modality is Modality.WAVEFORM:
            mel = mel_of(signal, grid_shape(signal, downsample)[-1])
            frames = 1 + signal.shape[-1] // mel.hop
            return Cost(flops=2.0 * (mel.n_fft // 2 + 1) * mel.n_mels * frames)
        if self.net == "handmade":
            return Cost()
        frames = signal.shape[0] if signal.modality is Modality.VIDEO else 1
        pixels = math.prod(16 * n for n in grid_shape(signal, downsample)[-2:])
        return Cost(flops=_MOBILENET_V2 * frames * pixels)

    def weights(self) -> tuple[str, ...]:
        return () if self.net == "handmade" else (self.net,)
