"""Configuration of orthogonal mixes. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..spec import LatentSpec
from .config import ScrambleConfig, continuous_reason, variable_reason

# An orthogonal matrix of more positions takes minutes to draw.
LARGEST = 2048


@dataclass(frozen=True, kw_only=True)
class PositionMixConfig(ScrambleConfig):
    """One random orthogonal matrix over the positions, the same for all samples and channels."""

    kind: ClassVar[str] = "position_mix"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "mix:PositionMix"

    def unsupported_reason(self, inner: LatentSpec) -> str | None:
        reason = super().unsupported_reason(inner) or continuous_reason(self.kind, inner)
        reason = reason or variable_reason(self.kind, inner)
        most = max(grid.positions for grid in inner.grids)
        if reason is None and most > LARGEST:
            return f"{self.kind} mixes at most {LARGEST} positions, and these latents have {most}"
        return reason


@dataclass(frozen=True, kw_only=True)
class ChannelMixConfig(ScrambleConfig):
    """One random orthogonal matrix over the channels, the same at all positions: nearly harmless to priors."""

    kind: ClassVar[str] = "channel_mix"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "mix:ChannelMix"

    def unsupported_reason(self, inner: LatentSpec) -> str | None:
        return super().unsupported_reason(inner) or continuous_reason(self.kind, inner)
