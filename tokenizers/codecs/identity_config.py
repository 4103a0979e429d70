"""Configuration of the codec that does nothing. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..spec import LatentGrid, SignalSpec
from .config import CodecConfig


@dataclass(frozen=True, kw_only=True)
class IdentityCodecConfig(CodecConfig):
    """The signal itself as latents (identity, A20): TSR 1, the single-stage baseline."""

    kind: ClassVar[str] = "identity"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "identity:IdentityCodec"

    def grids(self, signal: SignalSpec) -> tuple[LatentGrid, ...]:
        return (LatentGrid(shape=signal.shape, channels=signal.channels),)
