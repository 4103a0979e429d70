"""Configuration of byte pair encoding. No torch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from ..spec import LatentGrid, LatentSpec
from .config import SequenceCodingConfig

# The characters of Unicode's two supplementary private use planes, the last two of each being no characters.
PRIVATE = 2 * (2**16 - 2)


@dataclass(frozen=True, kw_only=True)
class BPEConfig(SequenceCodingConfig):
    """Byte pair encoding over codes (BPE, A16): neighbours in raster order that are frequent together become one code.

    `vocabulary` counts the codes of the result: all of the tokenizer's (over its heads) and the merged ones. The
    merges are learned by Hugging Face's `tokenizers` from the training split.
    """

    kind: ClassVar[str] = "bpe"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "bpe:BPE"

    vocabulary: int = 1024

    def unsupported_reason(self, inner: LatentSpec, *, regularisers: Collection[str]) -> str | None:
        if reason := super().unsupported_reason(inner, regularisers=regularisers):
            return reason
        base = sum(inner.grid.codebook_sizes)
        if self.vocabulary <= base:
            return f"vocabulary {self.vocabulary} must be above the {base} codes there are"
        if base > PRIVATE:
            return f"bpe merges at most {PRIVATE} different codes, and there are {base}"
        return None

    def grid(self, inner: LatentSpec) -> LatentGrid:
        codes = inner.grid.positions * inner.grid.heads
        return LatentGrid(
            shape=(codes,), channels=1, codebook_sizes=(self.vocabulary,), topology="sequence", variable=True
        )
