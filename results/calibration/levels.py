"""Correlations within families, across them and over all rows, with intervals that know that a family's rows are alike.

A correlation over all tokenizers mixes two: that of the family means and that inside families, which may differ in sign
(Simpson's paradox). So every coefficient is given three times:

- *overall*: over all rows;
- *within*: the mean of the families' own coefficients (of three rows or more), weighted by rows less one;
- *across*: over the families' means, of four families or more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..quantiles import student
from .correlation import Array, Kind, coefficients

Level = Literal["overall", "within", "across"]
LEVELS: tuple[Level, ...] = ("overall", "within", "across")

LEAST_ROWS = 5  # of an interval: fewer say nothing that their number does not
_LEAST_INSIDE = 3
_LEAST_FAMILIES = 4
_FEW_FAMILIES = 5  # below, families are taken as they are, and their rows are drawn


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows to correlate: x (n,), the outcome by seed (one array per row), each row's family as a number, and its place
    in the table (rows without x are left out)."""

    x: Array
    outcomes: Sequence[Array]
    family: NDArray[np.intp]
    place: NDArray[np.intp]

    @property
    def y(self) -> Array:
        """The mean outcome (n,) over seeds."""
        return np.array([values.mean() for values in self.outcomes])

    @property
    def families(self) -> int:
        """How many families there are."""
        return len(np.unique(self.family))

    def only(self, chosen: Sequence[int]) -> Rows:
        """The rows of these numbers."""
        return Rows(
            x=self.x[chosen],
            outcomes=[self.outcomes[i] for i in chosen],
            family=self.family[chosen],
            place=self.place[chosen],
        )

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """A coefficient, its 95 % interval where there is one, and the rows (across: families) that it is of."""

    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, kw_only=True)
class Resamples:
    """Weights (B, n) of the rows, and outcomes (B, n) whose seeds were drawn anew."""

    weights: Array
    y: Array


def level_coefficients(level: Level, kind: Kind, x: Array, y: Array, weights: Array, family: NDArray[np.intp]) -> Array:
    """The coefficients (B,) at a level between x (n,) or (B, n) and y (B, n), under weights (B, n); NaN where there is
    none."""
    x = np.atleast_2d(x)
    if level == "overall":
        return coefficients(kind, x, y, weights)
    parts = [family == label for label in np.unique(family)]
    if level == "across":
        if len(parts) < _LEAST_FAMILIES:
            return np.full(len(weights), np.nan)
        return _across(kind, x, y, weights, parts)
    total, mass = np.zeros(len(weights)), np.zeros(len(weights))
    for part in parts:
        if part.sum() < _LEAST_INSIDE:
            continue
        inside = coefficients(kind, x[:, part], y[:, part], weights[:, part])
        weight = np.where(np.isnan(inside), 0, weights[:, part].sum(1) * (1 - 1 / part.sum()))
        total += weight * np.nan_to_num(inside)
        mass += weight
    with np.errstate(invalid="ignore"):
        return np.where(mass > 0, total / mass, np.nan)


def level_coefficient(level: Level, kind: Kind, rows: Rows) -> float:
    """The coefficient of the rows at a level; NaN where there is none."""
    return float(level_coefficients(level, kind, rows.x, rows.y[None], np.ones((1, len(rows))), rows.family)[0])


def of_normal(level: Level, kind: Kind, rows: Rows, pearson: Array) -> Array:
    """What the coefficient at a level is expected to be of as many independent normal pairs as there are rows (across:
    families), which correlate at `pearson`.

    Spearman's: 6/(π(n + 1)) (asin ρ + (n − 2) asin ρ/2) of n pairs (Moran 1948); Kendall's: 2/π asin ρ; Pearson's is
    taken to be ρ. Within families it is the mean over families, weighted as their coefficients are.
    """
    if kind == "pearson":
        return pearson
    if kind == "kendall":
        return 2 / math.pi * np.arcsin(pearson)
    sizes = np.unique(rows.family, return_counts=True)[1]
    if level != "within":
        sizes = np.array([len(rows) if level == "overall" else len(sizes)])
    sizes = sizes[sizes >= _LEAST_INSIDE, None]
    each = 6 / (math.pi * (sizes + 1)) * (np.arcsin(pearson) + (sizes - 2) * np.arcsin(pearson / 2))
    return np.average(each, axis=0, weights=(sizes - 1)[:, 0])


def _across(kind: Kind, x: Array, y: Array, weights: Array, parts: Sequence[NDArray[np.bool_]]) -> Array:
    """Over family means. Where rows were drawn, y's means are of those drawn; x's are not, since it has no noise."""
    mass = np.column_stack([weights[:, part].sum(1) for part in parts])
    with np.errstate(invalid="ignore"):
        means = np.column_stack([(weights[:, part] * y[:, part]).sum(1) for part in parts]) / mass
    plain = np.column_stack([y[:, part].mean(1) for part in parts])
    sizes = np.array([part.sum() for part in parts])
    return coefficients(
        kind, np.column_stack([x[:, part].mean(1) for part in parts]), np.where(mass > 0, means, plain), mass / sizes
    )


def resample(rows: Rows, draws: int, seed: int) -> Resamples:
    """Bootstrap resamples: of families (Cameron, Gelbach & Miller 2008), or of the rows inside each where there are
    fewer than five families; and of each row's seeds."""
    rng = np.random.default_rng(seed)
    n = len(rows)
    weights = np.zeros((draws, n))
    labels, places = np.unique(rows.family, return_inverse=True)
    if len(labels) >= _FEW_FAMILIES:
        weights = rng.multinomial(len(labels), [1 / len(labels)] * len(labels), size=draws)[:, places].astype(float)
    else:
        for label in labels:
            part = np.flatnonzero(rows.family == label)
            weights[:, part] = rng.multinomial(len(part), [1 / len(part)] * len(part), size=draws)
    y = np.empty((draws, n))
    for i, values in enumerate(rows.outcomes):
        y[:, i] = values[rng.integers(len(values), size=(draws, len(values)))].mean(1)
    return Resamples(weights=weights, y=y)


def seed_variance(outcomes: Sequence[Array]) -> tuple[float, int]:
    """The variance between seeds of one row, pooled over the rows, and its degrees of freedom; none where all rows have
    one seed."""
    freedom = sum(len(values) - 1 for values in outcomes)
    squares = math.fsum(float(((values - values.mean()) ** 2).sum()) for values in outcomes)
    return (squares / freedom if freedom else 0.0), freedom


def half_widths(outcomes: Sequence[Array]) -> Array:
    """Half of the 95 % interval of each row's mean outcome (n,), by Student's t and one variance for all rows: a row's
    own of two seeds would have one degree of freedom. 0 where all rows have one seed."""
    variance, freedom = seed_variance(outcomes)
    counts = np.array([len(values) for values in outcomes])
    return student(freedom) * np.sqrt(variance / counts) if freedom else np.zeros(len(counts))


def correlate(level: Level, kind: Kind, rows: Rows, drawn: Resamples) -> Correlation | None:
    """The coefficient at a level with its interval. None where the coefficient is not defined."""
    value = level_coefficient(level, kind, rows)
    if math.isnan(value):
        return None
    resampled = level_coefficients(level, kind, rows.x, drawn.y, drawn.weights, rows.family)
    return interval(level, kind, value, resampled, rows)


def interval(level: Level, kind: Kind, value: float, resampled: Array, rows: Rows, *, spent: int = 0) -> Correlation:
    """A coefficient with its 95 % interval: Student's t on Fisher's scale, with the resamples' standard error.

    The error is never taken below that of as many independent rows (Fieller, Hartley & Pearson 1957), less the `spent`
    ones of a partial coefficient: few or perfectly ordered rows would otherwise seem to have none.
    """
    n, freedom, counted = _size(level, rows)
    counted -= spent
    floor = _independent_error(kind, value, counted)
    if floor is None or n < LEAST_ROWS:
        return Correlation(value=value, low=None, high=None, n=n)
    limit = 1 - 1 / (2 * counted + 4)  # the scale has no end, and a coefficient of few rows may lie there
    errors = np.arctanh(np.clip(resampled[~np.isnan(resampled)], -limit, limit))
    error = max(floor, float(errors.std(ddof=1)) if len(errors) > 1 else 0.0)
    centre, half = math.atanh(min(max(value, -limit), limit)), student(freedom) * error
    low, high = math.tanh(centre - half), math.tanh(centre + half)
    return Correlation(value=value, low=min(low, value), high=max(high, value), n=n)


def _size(level: Level, rows: Rows) -> tuple[int, float, int]:
    """Rows (or families) that the coefficient is of, degrees of freedom of its error, and the independent rows that
    its smallest error is that of (within families the mean of each costs a row)."""
    sizes = np.unique(rows.family, return_counts=True)[1]
    units = rows.families if rows.families >= _FEW_FAMILIES else len(rows)
    if level == "across":
        return rows.families, rows.families - 1, rows.families
    if level == "overall":
        return len(rows), units - 1, len(rows)
    inside = sizes[sizes >= _LEAST_INSIDE]
    freedom = len(inside) - 1 if rows.families >= _FEW_FAMILIES and len(inside) > 1 else inside.sum() - len(inside)
    return int(inside.sum()), float(max(freedom, 1)), int((inside - 1).sum() + 1)


def _independent_error(kind: Kind, value: float, n: int) -> float | None:
    """The standard error on Fisher's scale of a coefficient of n independent rows; None for four or fewer."""
    if n <= 4:
        return None
    if kind == "kendall":
        return math.sqrt(0.437 / (n - 4))
    return math.sqrt((1 + value * value / 2 if kind == "spearman" else 1) / (n - 3))
