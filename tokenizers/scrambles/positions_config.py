"""Configuration of permuted positions. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..spec import LatentSpec
from .config import ScrambleConfig, variable_reason


@dataclass(frozen=True, kw_only=True)
class PositionsConfig(ScrambleConfig):
    """One permutation of the positions for all samples: codes and values keep theirs, neighbours are lost."""

    kind: ClassVar[str] = "positions"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "positions:Positions"

    def unsupported_reason(self, inner: LatentSpec) -> str | None:
        return super().unsupported_reason(inner) or variable_reason(self.kind, inner)
