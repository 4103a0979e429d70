"""Configuration of the frozen backbone. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from ..cost import Cost
from ..geometry import grid_shape
from ..spec import Modality, SignalSpec
from ..target_sizes import (
    mel_of,
    picture_shape,
    scattering_channels,
    scattering_flops,
    target_channels,
    yamnet_flops,
)
from .config import BackboneConfig

_MOBILENET_V2 = 8365.0  # FLOPs per pixel, as torch counts them
_LEAST = 4  # places along each axis of a picture, of which the scattering can say anything


@dataclass(frozen=True, kw_only=True)
class FrozenConfig(BackboneConfig):
    """A frozen net's features as the encoder's, averaged onto the latent grid; it has no decoder (RAE, A25).

    After Zheng et al. 2025 (arXiv 2510.11690). `net` "handmade" needs no weights: oriented gradients, local energy and
    brightness at three scales of images, frames and spectrograms, log-mel energies of waveforms. "mobilenet_v2", for
    images and frames, is the 96 channels of a 16th of the size, of pictures scaled to 16 pixels per position. "yamnet",
    for waveforms, is the 512 channels of a 16th of the size in each of four bands of frequencies, of frames so near
    that 16 come to a position. "scattering" needs no weights: the local means of the feature net's maps.
    """

    kind: ClassVar[str] = "frozen"
    version: ClassVar[int] = 2
    encoder: ClassVar[str | type] = "frozen:FrozenEncoder"
    decodes: ClassVar[bool] = False

    net: Literal["handmade", "mobilenet_v2", "yamnet", "scattering"] = "handmade"

    def unsupported_reason(self, signal: SignalSpec) -> str | None:
        if self.net == "mobilenet_v2" and signal.modality.is_audio:
            return f'net "{self.net}" is for images and frames, not {signal.modality}'
        if self.net == "yamnet" and signal.modality is Modality.SPECTROGRAM:
            return 'net "yamnet" reads waveforms, and the bands of a spectrogram are not those that it was trained on'
        if self.net == "yamnet" and signal.modality is not Modality.WAVEFORM:
            return f'net "yamnet" is for waveforms, not {signal.modality}'
        if self.net == "scattering" and min(picture_shape(signal)[-2:]) < _LEAST:
            seen = "log-mel" if signal.modality is Modality.WAVEFORM else "signal"
            return f'net "scattering" needs {_LEAST} places along both axes of a picture; this {seen} has too few'
        return None

    def features(self, signal: SignalSpec, downsample: tuple[int, ...]) -> int:
        if self.net == "scattering":
            return scattering_channels(signal)
        return target_channels(self.net, signal.modality)

    def encoder_cost(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Cost:
        if self.net == "yamnet":
            return Cost(flops=yamnet_flops(signal, grid_shape(signal, downsample)[-1]))
        if self.net == "scattering":
            return Cost(flops=scattering_flops(signal))
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
        return () if self.net in ("handmade", "scattering") else (self.net,)
