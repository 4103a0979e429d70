"""Statistics over records: intervals over seeds and samples, differences, ranks with ties, Pareto fronts.

All intervals are of 95 %. Ranks count differences beyond noise, so that noise does not order a table: differences
between all entries of a table are `pairwise.compare`'s, that of two named entries is `difference_interval`'s.

Student's and Welch's intervals equal those of `scipy.stats.ttest_rel` and `ttest_ind`, which take a hundred times as
long.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from .crossed import Spread, crossed, crossed_pair
from .metric import Direction
from .quantiles import student
from .samples import Samples, aligned

Interval = tuple[float, float]
Method = Literal["paired", "welch", "independent", "samples", "exact", "tukey"]


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
    method: Method

    @property
    def significant(self) -> bool:
        """True when the interval leaves zero out (with zero width: when the difference is not zero)."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a table as statistics see it: the metric's value by seed; the interval within a run (over its
    validation samples), where the metric has one and the seeds say nothing; and what reads the values by sample, for
    each seed, of a metric that is a mean over samples (None, or less than all seeds, where they were not kept)."""

    values: Mapping[int, float]
    within: Interval | None = None
    read: Callable[[], Mapping[int, Samples]] | None = None

    def forget_samples(self) -> None:
        """Free the values by sample; they are read again when they are asked for."""
        if "samples" in self.__dict__:
            self.sampled  # noqa: B018, which is remembered
            del self.__dict__["samples"]

    @cached_property
    def sampled(self) -> bool:
        """Whether `samples` has any."""
        return bool(self.samples)

    @cached_property
    def samples(self) -> Mapping[int, Samples]:
        """The values by sample, for every seed, over one set of samples; {} where that is not so."""
        by_seed = self.read() if self.read is not None and self.values else {}
        return by_seed if by_seed.keys() == self.values.keys() and aligned(list(by_seed.values())) else {}

    @cached_property
    def moments(self) -> tuple[float, float]:
        """The values' mean and its standard error over seeds (0 for a single value). Raises ValueError on no values."""
        return mean_error(list(self.values.values()))

    @cached_property
    def frozen(self) -> bool:
        """True where seeds change nothing (codecs, closed forms, frozen networks): they say nothing of uncertainty."""
        return len(self.values) > 1 and len(set(self.values.values())) == 1

    @cached_property
    def estimate(self) -> Estimate:
        """The mean over seeds with its interval: over seeds and samples where both are known (`crossed`), else over
        seeds (Student's t), and within the run for one seed or for seeds that change nothing."""
        (mean, error), n = self.moments, len(self.values)
        if n > 1 and self.read is not None and self.samples:
            spread = crossed([samples.values for samples in self.samples.values()])
            if spread is not None:
                below, above = spread.half_widths
                return Estimate(value=mean, low=mean - below, high=mean + above, n=n)
        return _interval(mean, error, n, self.within, known=not self.frozen)


def mean_interval(values: Sequence[float], within: Interval | None = None) -> Estimate:
    """The mean over seeds with Student's t interval: mean ± t(n - 1) s / √n.

    With a single value the interval is `within`, the run's own, if given. Raises ValueError on no values.
    """
    return _interval(*mean_error(values), len(values), within)


def _interval(mean: float, error: float, n: int, within: Interval | None, *, known: bool = True) -> Estimate:
    """Student's t interval of a mean of n; `within`, if any, for a single value or where `error` is not `known`."""
    if n == 1 or not known:
        low, high = within if within is not None else (None, None)
        return Estimate(value=mean, low=low, high=high, n=n)
    half = student(n - 1) * error
    return Estimate(value=mean, low=mean - half, high=mean + half, n=n)


def difference_interval(a: Entry, b: Entry) -> Difference | None:
    """The interval of mean(a) - mean(b), of two entries named in advance; by the first method that applies.

    - *samples*: both have values by sample, over the same samples: with the same seeds the variance of the differences
      over seeds and samples (`crossed`), with one seed or frozen entries those over samples alone; with other seeds
      Welch's over seeds, and samples paired;
    - *paired*: both have the same two or more seeds: Student's t over the differences seed by seed;
    - *welch*: both have two or more seeds: Welch's t with Satterthwaite's degrees of freedom;
    - *independent*: one of them has a single seed or is frozen: the two intervals are combined as those of independent
      estimates, d - √((a - a_low)² + (b_high - b)²) to d + √((a_high - a)² + (b - b_low)²) (MOVER; Zou & Donner 2008,
      eq. 9).

    None when there is no value, or an interval that is not known: then nothing can be said.
    """
    if not a.values or not b.values:
        return None
    value = a.moments[0] - b.moments[0]
    if a.samples and b.samples:
        spread = _by_sample(a, b)
        if spread is not None:
            below, above = spread.half_widths
            return Difference(value=value, low=value - below, high=value + above, method="samples")
    if len(a.values) > 1 and len(b.values) > 1 and not (a.frozen or b.frozen):
        if a.values.keys() == b.values.keys():
            value, error = mean_error([a.values[seed] - b.values[seed] for seed in sorted(a.values)])
            if error > 0 or value == 0:
                return _student(value, error, len(a.values) - 1, "paired")
        (mean_a, error_a), (mean_b, error_b) = a.moments, b.moments
        error = math.hypot(error_a, error_b)
        parts = _square(_square(error_a)) / (len(a.values) - 1) + _square(_square(error_b)) / (len(b.values) - 1)
        freedom = _square(_square(error)) / parts if parts > 0 else math.inf
        return _student(mean_a - mean_b, error, freedom, "welch")
    return independent(a.estimate, b.estimate)


def independent(first: Estimate, second: Estimate) -> Difference | None:
    """The difference of two independent estimates from their intervals (MOVER); None where one is not known."""
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return None
    value = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Difference(value=value, low=value - below, high=value + above, method="independent")


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
    signs = [sign_of(direction) for direction in axes]
    points: dict[int, list[float]] = {}
    for place, row in enumerate(rows):
        values = [sign * value for sign, value in zip(signs, row, strict=True) if value is not None]
        if len(values) == len(axes):
            points[place] = values
    front: list[int] = []
    for place in sorted(points, key=points.__getitem__, reverse=True):  # what dominates a point stands before it
        if not any(_dominates(points[other], points[place]) for other in front):
            front.append(place)
    on_it = set(front)
    return [place in on_it for place in range(len(rows))]


def _dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(x >= y for x, y in zip(a, b, strict=True)) and any(x > y for x, y in zip(a, b, strict=True))


def sign_of(direction: Direction) -> int:
    """1 where higher is better, -1 where lower is. Raises ValueError where neither is."""
    if direction == "none":
        raise ValueError("no direction says which way is better")
    return 1 if direction == "higher" else -1


def mean_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error, 0 for a single value. Raises ValueError on no values."""
    n = len(values)
    if n == 0:
        raise ValueError("the mean of no values")
    mean = math.fsum(values) / n
    if n == 1:
        return mean, 0.0
    away = [value - mean for value in values]
    return mean, math.sqrt(math.fsum([far * far for far in away]) / (n - 1) / n)  # ** 2 may raise OverflowError


def _square(value: float) -> float:
    return value * value  # ** 2 raises OverflowError where this is infinite


def _student(value: float, error: float, freedom: float, method: Method) -> Difference:
    half = student(freedom) * error
    return Difference(value=value, low=value - half, high=value + half, method=method)


def _by_sample(a: Entry, b: Entry) -> Spread | None:
    """The variance of mean(a) - mean(b) over seeds and samples; None where the two have other samples."""
    first, second = (list(entry.samples.values()) for entry in (a, b))
    if not aligned([first[0], second[0]]):
        return None
    if a.values.keys() == b.values.keys() and not (a.frozen or b.frozen):
        return crossed([a.samples[seed].values - b.samples[seed].values for seed in sorted(a.values)])
    return crossed_pair([x.values for x in first], [x.values for x in second])
