"""Statistics over records: intervals over seeds, differences, ranks with ties, Pareto fronts.

All intervals are of 95 %. Ranks count what can be told apart, so that noise does not order a table.

Student's and Welch's intervals equal those of `scipy.stats.ttest_rel` and `ttest_ind`, which take a hundred times as
long: a table of hundreds of lines has a hundred thousand pairs. Only the quantile is SciPy's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from .metric import Direction

LEVEL = 0.95
NORMAL = 1.959963984540054  # the normal distribution's 97.5 % point

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over `n` seeds with its 95 % interval; `low` and `high` are None when the uncertainty is not known."""

    value: float
    low: float | None
    high: float | None
    n: int

    @property
    def half(self) -> float | None:
        """Half of the interval's width."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The difference a - b of two entries: its 95 % interval, and the method that gave it."""

    value: float
    low: float
    high: float
    method: Literal["paired", "welch", "independent"]

    @property
    def significant(self) -> bool:
        """True when the interval leaves zero out (with zero width: when the difference is not zero)."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a table as statistics see it: the metric's value by seed, and for a single seed the interval
    within the run (over its validation samples), where the metric has one."""

    values: Mapping[int, float]
    within: Interval | None = None

    @cached_property
    def estimate(self) -> Estimate:
        """The mean over seeds with its interval."""
        return mean_interval(list(self.values.values()), self.within)

    @cached_property
    def mean_error(self) -> tuple[float, float]:
        """The mean over seeds and its standard error."""
        return _mean_error(list(self.values.values()))


def mean_interval(values: Sequence[float], within: Interval | None = None) -> Estimate:
    """The mean over seeds with Student's t interval: mean ± t(n - 1) s / √n.

    With a single value the interval is `within`, the run's own, if given. Raises ValueError on no values.
    """
    n = len(values)
    if n == 0:
        raise ValueError("the mean of no values")
    mean, error = _mean_error(values)
    if n == 1:
        low, high = within if within is not None else (None, None)
        return Estimate(value=mean, low=low, high=high, n=1)
    half = _t_quantile(n - 1) * error
    return Estimate(value=mean, low=mean - half, high=mean + half, n=n)


def difference_interval(a: Entry, b: Entry) -> Difference | None:
    """The interval of mean(a) - mean(b), by the first of three methods that applies.

    - *paired*: both have the same two or more seeds: Student's t over the differences seed by seed;
    - *welch*: both have two or more seeds: Welch's t with Satterthwaite's degrees of freedom;
    - *independent*: one of them has a single seed: the two intervals are combined as those of independent estimates,
      d - √((a - a_low)² + (b_high - b)²) to d + √((a_high - a)² + (b - b_low)²) (MOVER; Zou & Donner 2008, eq. 9).

    None when there is no value, or an interval that is not known: then nothing can be said.
    """
    if not a.values or not b.values:
        return None
    if len(a.values) > 1 and len(b.values) > 1:
        if a.values.keys() == b.values.keys():
            value, error = _mean_error([a.values[seed] - b.values[seed] for seed in sorted(a.values)])
            return _student(value, error, len(a.values) - 1, "paired")
        (mean_a, error_a), (mean_b, error_b) = a.mean_error, b.mean_error
        error = math.hypot(error_a, error_b)
        parts = _square(_square(error_a)) / (len(a.values) - 1) + _square(_square(error_b)) / (len(b.values) - 1)
        freedom = _square(_square(error)) / parts if parts > 0 else math.inf
        return _student(mean_a - mean_b, error, freedom, "welch")
    first, second = a.estimate, b.estimate
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return None
    value = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Difference(value=value, low=value - below, high=value + above, method="independent")


def distinguishable(a: Entry, b: Entry) -> bool:
    """True when the 95 % interval of the difference of `a` and `b` is known and leaves zero out."""
    difference = difference_interval(a, b)
    return difference is not None and difference.significant


def significant_pairs(entries: Sequence[Entry]) -> dict[tuple[int, int], Difference]:
    """The pairs (i < j) that can be told apart, with their differences i - j."""
    return {
        (i, j): difference
        for i, a in enumerate(entries)
        for j in range(i + 1, len(entries))
        if (difference := difference_interval(a, entries[j])) is not None and difference.significant
    }


def ranks(
    entries: Sequence[Entry], direction: Direction, apart: Mapping[tuple[int, int], Difference]
) -> list[int | None]:
    """Rank = 1 + the number of entries that are better beyond the 95 % interval of the difference.

    `apart` are the entries' `significant_pairs`. Entries that can't be told apart from the best share rank 1, and so on
    down. None for an entry without values or without a known interval, which nothing could be told apart from. Pairs
    are not corrected for their number: each claim is wrong in 5 % of cases. Raises ValueError for a metric without a
    direction.
    """
    sign = _sign(direction)
    known = [bool(entry.values) and entry.estimate.half is not None for entry in entries]
    result: list[int | None] = [1 if interval else None for interval in known]
    for (i, j), difference in apart.items():
        worse = j if sign * difference.value > 0 else i
        result[worse] = (result[worse] or 0) + 1
    return result


def alike(n: int, apart: Iterable[tuple[int, int]], *, limit: int = 64) -> list[list[int]] | None:
    """The largest groups of `range(n)` in which no pair is `apart`; a pair in no common group is apart.

    Insert and absorb (Piepho 2004, "An algorithm for a letter-based representation of all-pairwise comparisons").
    Groups of one are left out. None when there are more than `limit` of them.
    """
    groups: set[frozenset[int]] = {frozenset(range(n))}
    for i, j in apart:
        split = {group for group in groups if i in group and j in group}
        halves = {group - {x} for group in split for x in (i, j)}
        groups -= split
        groups |= {half for half in halves if not any(half < other for other in groups | halves)}
        if len(groups) > limit:
            return None
    return sorted(sorted(group) for group in groups if len(group) > 1)


def pareto(rows: Sequence[Sequence[float | None]], axes: Sequence[Direction]) -> list[bool]:
    """Which rows no other row dominates (at least as good on every axis, better on one); values as they stand.

    `axes` gives each column's direction. A row with a missing value is not on the front and dominates nothing.
    Raises ValueError for an axis without a direction.
    """
    signs = [_sign(direction) for direction in axes]
    points: list[list[float] | None] = []
    for row in rows:
        values = [sign * value for sign, value in zip(signs, row, strict=True) if value is not None]
        points.append(values if len(values) == len(axes) else None)
    known = [point for point in points if point is not None]
    return [point is not None and not any(_dominates(other, point) for other in known) for point in points]


def _dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(x >= y for x, y in zip(a, b, strict=True)) and any(x > y for x, y in zip(a, b, strict=True))


def _sign(direction: Direction) -> int:
    if direction == "none":
        raise ValueError("no direction says which way is better")
    return 1 if direction == "higher" else -1


def _mean_error(values: Sequence[float]) -> tuple[float, float]:
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return mean, 0.0
    return mean, math.sqrt(math.fsum(_square(value - mean) for value in values) / (n - 1) / n)


def _square(value: float) -> float:
    return value * value  # ** 2 raises OverflowError where this is infinite


def _student(value: float, error: float, freedom: float, method: Literal["paired", "welch"]) -> Difference:
    half = _t_quantile(freedom) * error
    return Difference(value=value, low=value - half, high=value + half, method=method)


def _t_quantile(freedom: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + LEVEL) / 2)) if math.isfinite(freedom) else NORMAL
