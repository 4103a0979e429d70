"""The estimates of all lines of a table at once, as `statistics.Entry.estimate` has each: to the bit, where lines have
no values by sample. Ten thousand entries of three seeds take 15 ms.

Shape legend: k lines, S the most seeds that a line has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .quantiles import Array, student
from .statistics import Estimate

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """Of each line the mean over its seeds, and half of its interval where that is known; both None without a value.
    `counts` are its seeds with a value, `frozen` whether there are several of one value."""

    values: list[float | None]
    halves: list[float | None]
    counts: list[int]
    frozen: list[bool]

    def set(self, line: int, estimate: Estimate) -> None:
        """The line's estimate is another: it has values by sample."""
        self.values[line], self.halves[line] = estimate.value, estimate.half


def estimates(values: Array, present: Mask, around: Array) -> Estimates:
    """The estimates of lines whose seeds have the `values` `[k, S]` where they are `present` `[k, S]`.

    `around` `[k, 2]` are the intervals within the run of each line's first value, NaN where none is known: those of
    lines with one seed, or with seeds that change nothing.
    """
    counts = present.sum(1)
    means, halves = np.zeros(len(values)), np.full(len(values), np.nan)
    frozen = np.zeros(len(values), dtype=bool)
    with np.errstate(over="ignore", invalid="ignore"):
        for n in np.unique(counts).tolist():
            if n == 0:
                continue
            lines = np.flatnonzero(counts == n)
            own = values[lines][present[lines]].reshape(-1, n)
            means[lines] = mean = _sums(own) / n
            within = (around[lines, 1] - around[lines, 0]) / 2
            if n == 1:
                halves[lines] = within
                continue
            error = np.sqrt(_sums(np.square(own - mean[:, None])) / (n - 1) / n)
            half = student(n - 1) * error
            frozen[lines] = same = (own == own[:, :1]).all(1)
            halves[lines] = np.where(same, within, ((mean + half) - (mean - half)) / 2)
    valued = (counts > 0).tolist()
    return Estimates(
        values=[mean if any_ else None for mean, any_ in zip(means.tolist(), valued, strict=True)],
        halves=[None if math.isnan(half) else half for half in halves.tolist()],
        counts=counts.tolist(),
        frozen=frozen.tolist(),
    )


def _sums(rows: Array) -> Array:
    """The sum of each row, rounded once, as `statistics.mean_error` has it.

    Each addition's error is known exactly (Knuth's TwoSum); where the errors add up without one, the sum and they make
    the exact sum. Of few rows that is not so.
    """
    total, error = rows[:, 0], np.zeros(len(rows))
    exact = np.ones(len(rows), dtype=bool)
    for column in rows.T[1:]:
        total, lost = _two_sum(total, column)
        error, left = _two_sum(error, lost)
        exact &= left == 0
    sums: Array = total + error
    others = np.flatnonzero(~exact)
    sums[others] = [math.fsum(row) for row in rows[others].tolist()]
    return sums


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """The sums, and what their rounding lost; NaN where one is too large."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)
