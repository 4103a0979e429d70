"""Configuration of renumbered codes. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..spec import LatentSpec
from .config import ScrambleConfig

# A permutation of a larger codebook is more memory than a tokenizer.
LARGEST_CODEBOOK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class CodesConfig(ScrambleConfig):
    """Every codebook's codes renumbered by one permutation: harmless to a prior with a table of codes."""

    kind: ClassVar[str] = "codes"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "codes:Codes"

    def unsupported_reason(self, inner: LatentSpec) -> str | None:
        if not inner.discrete:
            return f"{self.kind} renumbers codes, and these latents are continuous"
        largest = max(size for grid in inner.grids for size in grid.codebook_sizes)
        if largest > LARGEST_CODEBOOK:
            return f"{self.kind} renumbers codebooks of at most {LARGEST_CODEBOOK} codes, and one has {largest}"
        return super().unsupported_reason(inner)
