"""BD-rate: how many more bits one rate–distortion curve takes than another at equal quality, in per cent.

Bjøntegaard 2001 (VCEG-M33): the mean horizontal distance of two curves of log rate over quality, on the range of
quality that both reach. Between points the curves are monotone cubics (PCHIP; Fritsch & Carlson 1980), as in the
package `bjontegaard` and in the video standards' common test conditions.

The interval is that of log10 of the ratio of rates, to first order in the points (infinitesimal jackknife; Efron 1982):
each sample's influence is the gradient of the BD-rate by the points' rates and qualities times the sample's own. All
points of both curves are of the same samples, so what those share cancels; seeds count as everywhere (`crossed`).

Shape legend: P points of a curve, M samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .crossed import crossed, crossed_pair
from .errors import UserError
from .quantiles import Array, student
from .statistics import Entry, mean_error

POINTS = 4  # as in VCEG-M33; with fewer the curve between them is guesswork
OVERLAP = 0.5  # of the range of quality that the two curves span together

# A step of the gradient, as a share of a coordinate's range: far below what bends the curve, far above rounding.
_STEP = 1e-5


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A rate–distortion curve: by point the rate and the quality over seeds; `higher` says that more is better."""

    label: str
    rates: Sequence[Entry]
    qualities: Sequence[Entry]
    higher: bool = True

    @cached_property
    def points(self) -> Array:
        """`[2, P]`: log10 of the mean rates, and the mean qualities, turned so that higher is better."""
        rates, qualities = (np.array([entry.moments[0] for entry in column]) for column in (self.rates, self.qualities))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.stack([np.log10(rates), qualities if self.higher else -qualities])


@dataclass(frozen=True, kw_only=True)
class BdRate:
    """Per cent more bits than the anchor at equal quality (below 0: fewer), with its 95 % interval where it is known.

    `between` is the range of quality, in the metric's own numbers, over which it is a mean; `overlap` its share of the
    range that the two curves span.
    """

    value: float
    low: float | None
    high: float | None
    between: tuple[float, float]
    overlap: float


def bd_rate(anchor: Curve, test: Curve) -> BdRate:
    """The BD-rate of `test` against `anchor`.

    Raises UserError, saying why, for a curve of fewer than four points, a rate that is not positive, a curve whose
    quality does not rise with the rate, and curves that share less than half of the range of quality they span.
    """
    for curve in (anchor, test):
        _check(curve)
    shared = _shared(anchor.points[1], test.points[1])
    if shared is None or shared[2] < OVERLAP:
        raise UserError(
            f"{anchor.label} ({_reach(anchor)}) and {test.label} ({_reach(test)}) share "
            f"{0 if shared is None else shared[2]:.0%} of the quality that they span; at least {OVERLAP:.0%} is needed"
        )
    low, high, overlap = shared
    difference = log_ratio(anchor.points, test.points)
    half = _half(anchor, test)
    ends = (None, None) if half is None else (_percent(difference - half), _percent(difference + half))
    between = (low, high) if test.higher else (-high, -low)
    return BdRate(value=_percent(difference), low=ends[0], high=ends[1], between=between, overlap=overlap)


def log_ratio(anchor: Array, test: Array) -> float:
    """The mean of log10(rate of `test` / rate of `anchor`) over the quality that both have; NaN where there is none.

    Both are `[2, P]`: log10 of the rates, and the qualities, which rise with them.
    """
    from scipy.interpolate import PchipInterpolator

    shared = _shared(anchor[1], test[1])
    if shared is None:
        return math.nan
    low, high, _ = shared
    integrals = []
    for points in (anchor, test):
        rates, qualities = points[:, np.argsort(points[1])]
        integrals.append(float(PchipInterpolator(qualities, rates).integrate(low, high)))
    return (integrals[1] - integrals[0]) / (high - low)


def _check(curve: Curve) -> None:
    if len(curve.rates) < POINTS:
        raise UserError(f"{curve.label} has {len(curve.rates)} of the {POINTS} points that a curve needs")
    if not np.isfinite(curve.points).all():
        raise UserError(f"{curve.label} has a rate that is not above 0")
    rates, qualities = curve.points[:, np.lexsort(curve.points[::-1])]
    for i in range(len(rates) - 1):
        if not (rates[i] < rates[i + 1] and qualities[i] < qualities[i + 1]):
            sign = 1 if curve.higher else -1
            raise UserError(
                f"{curve.label} does not get better with every bit: {sign * qualities[i]:.4g} at a rate of "
                f"{10 ** rates[i]:.4g}, {sign * qualities[i + 1]:.4g} at {10 ** rates[i + 1]:.4g}"
            )


def _shared(anchor: Array, test: Array) -> tuple[float, float, float] | None:
    """The range of quality that both have, and its share of what they span together; None without one."""
    low, high = max(anchor.min(), test.min()), min(anchor.max(), test.max())
    if low >= high:
        return None
    return (
        float(low),
        float(high),
        float((high - low) / (max(anchor.max(), test.max()) - min(anchor.min(), test.min()))),
    )


def _reach(curve: Curve) -> str:
    sign = 1 if curve.higher else -1
    low, high = sorted((sign * curve.points[1].min(), sign * curve.points[1].max()))
    return f"{low:.4g} to {high:.4g}"


def _percent(difference: float) -> float:
    return 100 * (10**difference - 1)


def _half(anchor: Curve, test: Curve) -> float | None:
    """Half of the interval of log10 of the ratio: over seeds and samples, else over seeds alone; None where neither is
    known."""
    first, second = (_gradient(anchor.points, test.points, which) for which in (0, 1))
    if all(entry.samples for curve in (anchor, test) for entry in (*curve.rates, *curve.qualities)):
        return _over_samples(_shares(anchor, first, _values), _shares(test, second, _values))
    return _over_seeds(_shares(anchor, first, _mean), _shares(test, second, _mean))


def _over_samples(a: list[Array], b: list[Array]) -> float | None:
    if not a or not b or len(a[0]) != len(b[0]):
        return None
    if len(a) == len(b) or min(len(a), len(b)) == 1:
        spread = crossed([a[i % len(a)] + b[i % len(b)] for i in range(max(len(a), len(b)))])
    else:
        spread = crossed_pair(a, [-values for values in b])
    return None if spread is None else max(spread.half_widths)


def _over_seeds(a: list[Array], b: list[Array]) -> float | None:
    count = max(len(a), len(b))
    if count < 2 or (len(a) != len(b) and min(len(a), len(b)) != 1):
        return None
    _, error = mean_error([float(a[i % len(a)][0] + b[i % len(b)][0]) for i in range(count)])
    return student(count - 1) * error


def _gradient(anchor: Array, test: Array, which: int) -> Array:
    """`[2, P]`: what a change of each rate's logarithm and each quality of one of the curves does to `log_ratio`."""
    result = np.zeros_like((anchor, test)[which])
    for place in np.ndindex(*result.shape):
        step = _STEP * float(np.ptp((anchor, test)[which][place[0]]))
        ends = []
        for sign in (1, -1):
            moved = [anchor.copy(), test.copy()]
            moved[which][place] += sign * step
            ends.append(log_ratio(moved[0], moved[1]))
        result[place] = (ends[0] - ends[1]) / (2 * step)
    return result


def _shares(curve: Curve, weights: Array, values: Callable[[Entry, int], Array]) -> list[Array]:
    """The curve's share in the log of the ratio, to first order: `[M]` by seed, of one where seeds change nothing; none
    where points have different seeds or samples."""
    of_rates = weights[0] / (10 ** curve.points[0] * math.log(10))
    of_qualities = weights[1] * (1 if curve.higher else -1)
    terms = [*zip(curve.rates, of_rates, strict=True), *zip(curve.qualities, of_qualities, strict=True)]
    moving = [entry for entry, _ in terms if len(entry.values) > 1 and not entry.frozen]
    seeds: set[tuple[int | None, ...]] = {tuple(sorted(entry.values)) for entry in moving}
    if len(seeds) > 1:
        return []
    result = []
    for seed in next(iter(seeds), (None,)):
        parts = [
            weight * values(entry, seed if seed is not None and seed in entry.values else next(iter(entry.values)))
            for entry, weight in terms
        ]
        if len({len(part) for part in parts}) > 1:
            return []
        result.append(np.sum(parts, axis=0))
    return result


def _values(entry: Entry, seed: int) -> Array:
    return entry.samples[seed].values


def _mean(entry: Entry, seed: int) -> Array:
    return np.array([entry.values[seed]])
