"""Configurations of the recodings that spend codes where content needs them (A14). No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ..regularisers.resolution_dropout_config import halves
from ..spec import LatentGrid, LatentSpec
from .config import RecodingConfig

if TYPE_CHECKING:
    from ..config import TokenizerConfig
    from .base import Recoding

Rule = Literal["threshold", "slope"]


@dataclass(frozen=True, kw_only=True)
class AdaptiveConfig(RecodingConfig):
    """Each sample keeps as many positions as its squared error asks for, and all `budget` in the mean.

    `rule` "slope": as many as lessen the error by more than one price per position, which makes the mean error the
    least. "threshold": the fewest with which the error stays below one threshold, so that all samples come back about
    equally well. Price or threshold are calibrated on the training split, so that the mean number of positions there
    is `budget` at most: by default halfway between the fewest and all.
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

    def validate(self, inner: LatentSpec) -> None:
        super().validate(inner)
        fewest, *_, most = self.lengths(inner)
        if self.budget is not None and not fewest <= self.budget <= most:
            raise ValueError(f"budget {self.budget:g} must lie between {fewest} and {most} positions")

    def grid(self, inner: LatentSpec) -> LatentGrid:
        grid = inner.grid
        return LatentGrid(
            shape=(grid.positions,),
            channels=grid.channels,
            codebook_sizes=grid.codebook_sizes,
            topology="sequence",
            variable=True,
        )


@dataclass(frozen=True, kw_only=True)
class PrefixConfig(AdaptiveConfig):
    """Adaptive length (A14): the first codes of a tokenizer that was trained with nested dropout, as many as needed.

    A sample keeps one of `choices` lengths, evenly spaced up to all.
    """

    kind: ClassVar[str] = "prefix"
    version: ClassVar[int] = 1

    choices: int = 8

    def __post_init__(self) -> None:
        if self.choices < 2:
            raise ValueError("choices must be at least 2")

    def lengths(self, inner: LatentSpec) -> tuple[int, ...]:
        positions = inner.grid.positions
        return tuple(sorted({math.ceil(positions * n / self.choices) for n in range(1, self.choices + 1)}))

    def validate(self, inner: LatentSpec) -> None:
        if inner.grid.positions < 2:
            raise ValueError("a single position has no shorter prefix")
        super().validate(inner)

    def requires(self, config: TokenizerConfig) -> None:
        if "nested_dropout" not in {regulariser.kind for regulariser in config.regularisers}:
            raise ValueError("prefix needs a tokenizer that decodes prefixes: regularisers.nested_dropout")

    def build(self, inner: LatentSpec) -> Recoding:
        from .prefix import Prefix

        return Prefix(self, inner)


@dataclass(frozen=True, kw_only=True)
class ResolutionConfig(AdaptiveConfig):
    """Adaptive resolution (A14): the codes of the whole grid, or of one of half the size per axis.

    An axis of odd size keeps its size. Made for a tokenizer that was trained with resolution dropout.
    """

    kind: ClassVar[str] = "resolution"
    version: ClassVar[int] = 1

    def lengths(self, inner: LatentSpec) -> tuple[int, ...]:
        positions = inner.grid.positions
        return positions // math.prod(halves(inner.grid.shape)), positions

    def validate(self, inner: LatentSpec) -> None:
        if inner.grid.topology != "grid":
            raise ValueError(f"only a grid has a resolution, and these latents are a {inner.grid.topology}")
        super().validate(inner)

    def build(self, inner: LatentSpec) -> Recoding:
        from .resolution import Resolution

        return Resolution(self, inner)
