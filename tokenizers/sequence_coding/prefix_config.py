"""Configuration of adaptive length by prefixes. No torch."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from ..spec import LatentSpec
from .adaptive_config import AdaptiveConfig


@dataclass(frozen=True, kw_only=True)
class PrefixConfig(AdaptiveConfig):
    """Adaptive length (A14): the first codes of a tokenizer that was trained with nested dropout, as many as needed.

    A sample keeps one of `choices` lengths, evenly spaced up to all.
    """

    kind: ClassVar[str] = "prefix"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "prefix:Prefix"

    choices: int = 8

    def __post_init__(self) -> None:
        if self.choices < 2:
            raise ValueError("choices must be at least 2")

    def lengths(self, inner: LatentSpec) -> tuple[int, ...]:
        positions = inner.grid.positions
        return tuple(sorted({math.ceil(positions * n / self.choices) for n in range(1, self.choices + 1)}))

    def unsupported_reason(self, inner: LatentSpec, *, regularisers: Collection[str]) -> str | None:
        if inner.grid.positions < 2:
            return "a single position has no shorter prefix"
        if reason := super().unsupported_reason(inner, regularisers=regularisers):
            return reason
        if "nested_dropout" not in regularisers:
            return "prefix needs a tokenizer that decodes prefixes: regularisers.nested_dropout"
        return None
