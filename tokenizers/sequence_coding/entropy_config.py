"""Configuration of entropy coding. No torch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

from ..spec import LatentGrid, LatentSpec
from .config import SequenceCodingConfig

# The coder's frequencies sum to at most 2^20, and a codebook needs some of that to tell its codes apart.
LARGEST_CODEBOOK = 2**18


@dataclass(frozen=True, kw_only=True)
class EntropyConfig(SequenceCodingConfig):
    """Codes as a stream of bytes (entropy-coded byte streams, A19).

    Few bits, and little structure left for a prior. rANS (Duda 2013, arXiv 1311.2540) with the frequencies of each
    head's codes in the training split.
    """

    kind: ClassVar[str] = "entropy"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "entropy:Entropy"

    def unsupported_reason(self, inner: LatentSpec, *, regularisers: Collection[str]) -> str | None:
        if reason := super().unsupported_reason(inner, regularisers=regularisers):
            return reason
        largest = max(inner.grid.codebook_sizes)
        if largest > LARGEST_CODEBOOK:
            return f"entropy codes heads of at most {LARGEST_CODEBOOK} codes, and one has {largest}"
        return None

    def grid(self, inner: LatentSpec) -> LatentGrid:
        bits = inner.grid.positions * sum((size - 1).bit_length() for size in inner.grid.codebook_sizes)
        sequence: dict[str, Any] = {"topology": "sequence", "variable": True, "byte_stream": True}
        return LatentGrid(shape=(-(-bits // 8),), channels=1, codebook_sizes=(256,), **sequence)
