"""What configurations of adaptive lengths share: codes where the content needs them. No torch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from ..spec import LatentGrid, LatentSpec
from .config import SequenceCodingConfig

Rule = Literal["threshold", "slope"]


@dataclass(frozen=True, kw_only=True)
class AdaptiveConfig(SequenceCodingConfig):
    """Each sample keeps as many positions as its squared error asks for, on average at most `budget`.

    `rule` "slope" keeps the positions that reduce the error by more than one price per position, which minimises the
    mean error. "threshold" keeps the fewest with which the error stays below one threshold, so that all samples are
    reconstructed about equally well. Price and threshold are calibrated on the training split, so that the mean number
    of positions there is at most `budget`: by default halfway between the fewest and all.
    """

    budget: float | None = None
    rule: Rule = "slope"

    def lengths(self, inner: LatentSpec) -> tuple[int, ...]:
        """The numbers of positions that a sample may keep, ascending; the last is all of them."""
        raise NotImplementedError

    def mean(self, inner: LatentSpec) -> float:
        """The mean number of positions."""
        fewest, *_, most = self.lengths(inner)
        return (fewest + most) / 2 if self.budget is None else self.budget

    def unsupported_reason(self, inner: LatentSpec, *, regularisers: Collection[str]) -> str | None:
        if reason := super().unsupported_reason(inner, regularisers=regularisers):
            return reason
        fewest, *_, most = self.lengths(inner)
        if self.budget is not None and not fewest <= self.budget <= most:
            return f"budget {self.budget:g} must lie between {fewest} and {most} positions"
        return None

    def grid(self, inner: LatentSpec) -> LatentGrid:
        grid = inner.grid
        return LatentGrid(
            shape=(grid.positions,),
            channels=grid.channels,
            codebook_sizes=grid.codebook_sizes,
            topology="sequence",
            variable=True,
        )
