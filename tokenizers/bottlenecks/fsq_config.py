"""Configuration of finite scalar quantisation. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from .config import BottleneckConfig


@dataclass(frozen=True, kw_only=True)
class FSQConfig(BottleneckConfig):
    """Each channel rounded to one of `levels[i]` values, no codebook (FSQ, A8; Mentzer et al. 2023)."""

    kind: ClassVar[str] = "fsq"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "fsq:FSQ"

    levels: tuple[int, ...] = (8, 6, 5)

    def __post_init__(self) -> None:
        if not self.levels or min(self.levels) < 2:
            raise ValueError("levels must be one or more whole numbers >= 2")
        if math.prod(self.levels) > 2**31:
            raise ValueError(f"levels multiply to {math.prod(self.levels)} codes; at most 2^31 fit an index")

    def default_channels(self) -> int | None:
        return len(self.levels)

    def codebook_sizes(self, channels: int) -> tuple[int, ...]:
        return (math.prod(self.levels),)

    def unsupported_reason(self, *, channels: int, features: int, backbone: str) -> str | None:
        if channels != len(self.levels):
            return f"channels {channels} must be {len(self.levels)}, one per entry of levels {[*self.levels]}"
        return None
