"""Configuration of channels of noise. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from ..spec import LatentGrid, LatentSpec
from .config import ScrambleConfig, continuous_reason


@dataclass(frozen=True, kw_only=True)
class NoiseChannelsConfig(ScrambleConfig):
    """Appends `channels` channels of Gaussian noise, which are dropped before decoding."""

    kind: ClassVar[str] = "noise_channels"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "noise_channels:NoiseChannels"

    channels: int = 4

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise ValueError("channels must be at least 1")

    def unsupported_reason(self, inner: LatentSpec) -> str | None:
        return super().unsupported_reason(inner) or continuous_reason(self.kind, inner)

    def grid(self, inner: LatentGrid) -> LatentGrid:
        return replace(inner, channels=inner.channels + self.channels)
