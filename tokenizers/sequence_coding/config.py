"""Configurations of the recodings: what turns a discrete tokenizer's codes into sequences of varying length. No torch.

Those that choose how much of a sample to keep are in `adaptive_config.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..part import Part
from ..registry import Registry
from ..spec import LatentGrid, LatentSpec

if TYPE_CHECKING:
    from ..config import TokenizerConfig
    from .base import Recoding

SEQUENCE_CODINGS = Registry(
    "recoding",
    "latentbench.recodings",
    {
        "bpe": "tokenizers.sequence_coding.config:BPEConfig",
        "entropy": "tokenizers.sequence_coding.config:EntropyConfig",
        "prefix": "tokenizers.sequence_coding.adaptive_config:PrefixConfig",
        "resolution": "tokenizers.sequence_coding.adaptive_config:ResolutionConfig",
        "run_length": "tokenizers.sequence_coding.config:RunLengthConfig",
    },
)

# The characters of Unicode's two supplementary private use planes, the last two of each being no characters.
PRIVATE = 2 * (2**16 - 2)
# The coder's frequencies sum to at most 2^20, and a codebook needs some of that to tell its codes apart.
LARGEST_ENTROPY_CODED = 2**18


class RecodingConfig(Part):
    """A tokenizer's codes as one sequence of varying length, from which they are restored for its decoder."""

    def validate(self, inner: LatentSpec) -> None:
        """Raises ValueError with the reason when these latents can't be recoded."""
        if not inner.discrete:
            raise ValueError(f"{self.kind} recodes codes, and these latents are continuous")
        if len(inner.grids) > 1 or inner.grid.variable or inner.grid.topology == "set":
            raise ValueError(f"{self.kind} recodes one grid or sequence of fixed length")

    def requires(self, config: TokenizerConfig) -> None:
        """Raises ValueError with the reason when the tokenizer lacks what the recoding needs of it."""

    def grid(self, inner: LatentSpec) -> LatentGrid:
        """The sequence; its `shape` is the longest it can be."""
        raise NotImplementedError

    def build(self, inner: LatentSpec) -> Recoding:
        """The recoding of such latents."""
        raise NotImplementedError

    def spec(self, inner: LatentSpec) -> LatentSpec:
        """Shape and (longest) rate of the recoded latents."""
        return LatentSpec(signal=inner.signal, grids=(self.grid(inner),))


@dataclass(frozen=True, kw_only=True)
class BPEConfig(RecodingConfig):
    """Byte pair encoding over codes (A16): neighbours in raster order that are frequent together become one code.

    `vocabulary` counts the codes of the result: all of the tokenizer's (over its heads) and the merged ones. The
    merges are learned by Hugging Face's `tokenizers` from the training split.
    """

    kind: ClassVar[str] = "bpe"
    version: ClassVar[int] = 1

    vocabulary: int = 1024

    def validate(self, inner: LatentSpec) -> None:
        super().validate(inner)
        base = sum(inner.grid.codebook_sizes)
        if self.vocabulary <= base:
            raise ValueError(f"vocabulary {self.vocabulary} must be above the {base} codes there are")
        if base > PRIVATE:
            raise ValueError(f"bpe merges at most {PRIVATE} different codes, and there are {base}")

    def grid(self, inner: LatentSpec) -> LatentGrid:
        codes = inner.grid.positions * inner.grid.heads
        return LatentGrid(
            shape=(codes,), channels=1, codebook_sizes=(self.vocabulary,), topology="sequence", variable=True
        )

    def build(self, inner: LatentSpec) -> Recoding:
        from .bpe import BPE

        return BPE(self, inner)


@dataclass(frozen=True, kw_only=True)
class RunLengthConfig(RecodingConfig):
    """Repeated codes as (code, run length) pairs (A18; Dieleman et al. 2021, arXiv 2103.06089).

    Runs of more than `longest` positions are split. With a `tolerance` above 0 the encoder keeps a position's code at
    the next one where the squared change of what the decoder reads is at most `tolerance` x the sample's variance of
    it: fewer runs against distortion, as by the paper's hysteresis.
    """

    kind: ClassVar[str] = "run_length"
    version: ClassVar[int] = 1

    longest: int = 16
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if self.longest < 2:
            raise ValueError("longest must be at least 2")
        if self.tolerance < 0:
            raise ValueError("tolerance must not be negative")

    def grid(self, inner: LatentSpec) -> LatentGrid:
        sizes = (*inner.grid.codebook_sizes, self.longest)
        shape = (inner.grid.positions,)
        return LatentGrid(shape=shape, channels=1, codebook_sizes=sizes, topology="sequence", variable=True)

    def build(self, inner: LatentSpec) -> Recoding:
        from .run_length import RunLength

        return RunLength(self, inner)


@dataclass(frozen=True, kw_only=True)
class EntropyConfig(RecodingConfig):
    """Codes as an entropy-coded stream of bytes (A19, F6): few bits, and little left that a prior can find.

    rANS (Duda 2013, arXiv 1311.2540) with the frequencies of each head's codes in the training split.
    """

    kind: ClassVar[str] = "entropy"
    version: ClassVar[int] = 1

    def validate(self, inner: LatentSpec) -> None:
        super().validate(inner)
        largest = max(inner.grid.codebook_sizes)
        if largest > LARGEST_ENTROPY_CODED:
            raise ValueError(f"entropy codes heads of at most {LARGEST_ENTROPY_CODED} codes, and one has {largest}")

    def grid(self, inner: LatentSpec) -> LatentGrid:
        bits = inner.grid.positions * sum((size - 1).bit_length() for size in inner.grid.codebook_sizes)
        return LatentGrid(shape=(-(-bits // 8),), channels=1, codebook_sizes=(256,), topology="sequence", variable=True)

    def build(self, inner: LatentSpec) -> Recoding:
        from .entropy import Entropy

        return Entropy(self, inner)
