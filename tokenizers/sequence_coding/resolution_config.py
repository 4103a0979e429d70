"""Configuration of adaptive resolution. No torch."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from ..regularisers.resolution_dropout_config import halves
from ..spec import LatentSpec
from .adaptive_config import AdaptiveConfig


@dataclass(frozen=True, kw_only=True)
class ResolutionConfig(AdaptiveConfig):
    """Adaptive resolution (A14): the codes of the whole grid, or of one of half the size per axis.

    An axis of odd size keeps its size. For a tokenizer that was trained with resolution dropout.
    """

    kind: ClassVar[str] = "resolution"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "resolution:Resolution"

    def lengths(self, inner: LatentSpec) -> tuple[int, ...]:
        positions = inner.grid.positions
        return positions // math.prod(halves(inner.grid.shape)), positions

    def unsupported_reason(self, inner: LatentSpec, *, regularisers: Collection[str]) -> str | None:
        if inner.grid.topology != "grid":
            return f"only a grid has a resolution, and these latents are a {inner.grid.topology}"
        return super().unsupported_reason(inner, regularisers=regularisers)
