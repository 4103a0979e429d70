"""Configuration of the patch backbone. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..cost import Cost
from ..spec import SignalSpec
from .config import BackboneConfig, PieceGeometry


@dataclass(frozen=True, kw_only=True)
class PatchConfig(BackboneConfig):
    """Space to depth: each patch of the downsampling's size becomes one position's features. No parameters."""

    kind: ClassVar[str] = "patch"
    version: ClassVar[int] = 1
    encoder: ClassVar[str | type] = "patch:PatchEncoder"
    decoder: ClassVar[str | type] = "patch:PatchDecoder"

    def features(self, signal: SignalSpec, downsample: tuple[int, ...]) -> int:
        return signal.channels * math.prod(downsample)

    def piece_geometry(self, signal: SignalSpec, downsample: tuple[int, ...]) -> PieceGeometry:
        return PieceGeometry(first=downsample[signal.time_axis])

    def encoder_cost(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Cost:
        return Cost()

    def decoder_cost(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Cost:
        return Cost()
