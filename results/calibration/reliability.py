"""How far an outcome agrees with itself: what a proxy that knows nothing of its noise can reach."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .correlation import Array, Kind
from .levels import Level, Rows, interval, level_coefficients, of_normal, resample

_SPLITS = 200
_GRID = np.linspace(0, 1, 1001)  # Pearson's coefficients, between which those of ranks are interpolated


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """`reliability`: the outcome's correlation with itself between disjoint halves of its seeds, corrected to all seeds
    (Spearman–Brown). `attainable`: the correlation that a proxy of the true outcome would have, and its 95 % interval
    where one was asked for and there are rows enough."""

    reliability: float
    attainable: float
    seeds: int
    low: float | None = None
    high: float | None = None


def ceiling(level: Level, kind: Kind, rows: Rows, seed: int = 0, *, draws: int = 0) -> Ceiling | None:
    """The noise ceiling at a level: the mean over 200 random splits of each row's seeds in two halves.

    Rows with one seed are left out; None where fewer than three rows have more, or the coefficient has no value. What
    the halves agree at, r, is taken to Pearson's scale by what a normal pair's coefficient of as many rows is expected
    to be (`levels.of_normal`); there, an odd seed out of S being left out of a split, k = S/⌊S/2⌋ times as many seeds
    have kr/(1 + (k − 1)r) (Spearman 1910, Brown 1910), whose root is the correlation with the outcome free of noise;
    and that is taken back. On the scale of ranks themselves the correction would be too high: of Kendall's by .07, of
    Spearman's within families of four rows by .04 (tests/coverage/calibration.py).

    `draws` resamples of families (`levels.resample`) make the interval, which is of the mean ceiling of an endless
    supply of such tables.
    """
    several = [i for i, values in enumerate(rows.outcomes) if len(values) > 1]
    if len(several) < 3:
        return None
    rows = rows.only(several)
    first, second = _halves(rows, _SPLITS, seed)
    agreement = level_coefficients(level, kind, first, second, np.ones(first.shape), rows.family)
    values = agreement[~np.isnan(agreement)]
    if not len(values):
        return None
    agreed = float(values.mean())
    seeds = min(map(len, rows.outcomes))
    expected = of_normal(level, kind, rows, _GRID)
    low = high = None
    if draws:
        drawn = resample(rows, draws, seed)
        resampled = level_coefficients(level, kind, *_halves(rows, draws, seed + 1), drawn.weights, rows.family)
        ends = interval(level, kind, agreed, resampled, rows)
        if ends.low is not None and ends.high is not None:
            low, high = (_attainable(end, seeds, expected)[1] for end in (ends.low, ends.high))
    reliability, attainable = _attainable(agreed, seeds, expected)
    return Ceiling(reliability=reliability, attainable=attainable, seeds=seeds, low=low, high=high)


def _halves(rows: Rows, count: int, seed: int) -> tuple[Array, Array]:
    """The means (count, n) of the two halves of each row's seeds, in as many random splits."""
    rng = np.random.default_rng(seed)
    first, second = np.empty((2, count, len(rows)))
    for column, values in enumerate(rows.outcomes):
        order = rng.permuted(np.tile(values, (count, 1)), axis=1)
        half = order.shape[1] // 2
        first[:, column], second[:, column] = order[:, :half].mean(1), order[:, half : 2 * half].mean(1)
    return first, second


def _attainable(agreed: float, seeds: int, expected: Array) -> tuple[float, float]:
    """The reliability of all seeds, and what is attainable, of halves that agree so; nothing where they disagree."""
    of_half = float(np.interp(agreed, expected, _GRID))
    longer = seeds / (seeds // 2)
    whole = longer * of_half / (1 + (longer - 1) * of_half)
    return whole, float(np.interp(math.sqrt(whole), _GRID, expected))
