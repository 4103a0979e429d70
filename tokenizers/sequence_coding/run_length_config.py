"""Configuration of run-length coding. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..spec import LatentGrid, LatentSpec
from .config import SequenceCodingConfig


@dataclass(frozen=True, kw_only=True)
class RunLengthConfig(SequenceCodingConfig):
    """Repeated codes as (code, run length) pairs (SlowVQ, A18; Dieleman et al. 2021, arXiv 2103.06089).

    Runs of more than `longest` positions are split. With a `tolerance` above 0 the encoder keeps a position's code at
    the next one where the squared change of what the decoder reads is at most `tolerance` x the sample's variance of
    it: fewer runs against distortion, as by the paper's hysteresis.
    """

    kind: ClassVar[str] = "run_length"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "run_length:RunLength"

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
