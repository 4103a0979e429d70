"""All entries of a table compared with one another at once, so that 5 % of *tables* without a difference show one.

The half-width of a difference i - j is q / √2 · √V_ij, with q the 95 % point of Tukey's studentised range of as many
means as there are entries (Tukey 1953; Kramer 1956 for unequal numbers), in the place of Student's t. V_ij has, as far
as they are known, two parts, put together as in `crossed`:

- *seeds*: from the analysis of variance x = entry + seed + rest over all entries together, fitted by least squares
  where cells are missing: three seeds of twenty entries know their spread with 38 degrees of freedom, not 2. Where no
  seed links the entries, entry + rest. Where entries' spreads differ beyond doubt (Bartlett's test at 1 %), each pair
  has its own by Welch's formula (Games & Howell 1976). Entries that seeds do not change have none, and stay outside;
- *samples*: the variance of the difference sample by sample. Each pair has its own, and so Šidák's quantile in the
  place of Tukey's, corrected for the samples' skewness.

Pairs of which neither is known have their intervals within the runs, combined as independent ones.

Shape legend: k entries, S seeds, M samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .crossed import rest_variance, unskewed
from .metric import NORMAL, Direction
from .quantiles import Array, sidak, tukey
from .statistics import Difference, Entry, Method, difference_interval, sign_of

Places = NDArray[np.intp]

_BARTLETT = 0.01
MOST = 1000  # entries that are compared: beyond, pairs take gigabytes, and nobody reads who differs from whom


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """The differences i - j of all entries `[k, k]`, and their half-widths below and above, NaN where not known."""

    values: Array
    below: Array
    above: Array
    method: Method

    @cached_property
    def apart(self) -> NDArray[np.bool_]:
        """Which pairs differ, `[k, k]`."""
        return np.array((self.values > self.below) | (-self.values > self.above))

    @property
    def count(self) -> int:
        """How many pairs differ."""
        return int(np.triu(self.apart, 1).sum())

    def differences(self) -> dict[tuple[int, int], Difference]:
        """The pairs (i < j) that differ, with their differences i - j."""
        places = np.argwhere(np.triu(self.apart, 1))
        return {
            (i, j): Difference(value=value, low=value - below, high=value + above, method=self.method)
            for (i, j), value, below, above in zip(
                map(tuple, places.tolist()),
                self.values[tuple(places.T)].tolist(),
                self.below[tuple(places.T)].tolist(),
                self.above[tuple(places.T)].tolist(),
                strict=True,
            )
        }

    def ranks(self, direction: Direction) -> list[int | None]:
        """Rank = 1 + the number of entries that are better beyond the interval of the difference.

        Entries that do not differ from the best share rank 1, and so on down. None for an entry of which nothing
        is known. Raises ValueError for a metric without a direction.
        """
        better = self.apart & (sign_of(direction) * self.values < 0)
        known = np.isfinite(self.below).sum(1)
        return [1 + count if any_ else None for count, any_ in zip(better.sum(1).tolist(), known.tolist(), strict=True)]

    def best(self, direction: Direction) -> list[int]:
        """The best entry, and those that do not differ from it; none where nothing is known."""
        known = np.flatnonzero(np.isfinite(self.below).any(1))
        if not len(known):
            return []
        top = known[np.argmax(sign_of(direction) * self.values[known, known[0]])]
        return [int(i) for i in known if i == top or not self.apart[i, top]]


def compare(entries: Sequence[Entry]) -> Comparison:
    """All differences of the entries, with intervals that hold together. Two entries are `difference_interval`'s.

    More than `MOST` entries are not compared: the comparison is empty, and has neither ranks nor a best.
    """
    k = len(entries)
    if k > MOST:
        nothing = np.empty((0, 0))
        return Comparison(values=nothing, below=nothing, above=nothing, method="tukey")
    valued = [i for i, entry in enumerate(entries) if entry.values]
    means = np.full(k, np.nan)
    means[valued] = [entries[i].moments[0] for i in valued]
    values = means[:, None] - means[None, :]
    below = np.full((k, k), np.nan)
    method: Method = "tukey"
    if len(valued) == 1:
        (only,) = valued
        if entries[only].estimate.half is not None:
            below[only, only] = 0.0
        return Comparison(values=values, below=below, above=below, method=method)
    if len(valued) == 2:
        a, b = valued
        difference = difference_interval(entries[a], entries[b])
        above = below.copy()
        if difference is not None:
            below[a, b], above[a, b] = difference.value - difference.low, difference.high - difference.value
            below[b, a], above[b, a] = above[a, b], below[a, b]
            method = difference.method
        return Comparison(values=values, below=below, above=above, method=method)
    if len(valued) > 2:
        with np.errstate(over="ignore", invalid="ignore"):
            lower, upper, blocked = _half_widths([entries[i] for i in valued])
        if len(valued) == k:  # nearly always, and copies of a table of a thousand lines take their time
            return Comparison(values=_either(blocked, values), below=lower, above=upper, method=method)
        place = np.ix_(valued, valued)
        values[place] = _either(blocked, values[place])
        below[place] = lower
        above = below.copy()
        above[place] = upper
        return Comparison(values=values, below=below, above=above, method=method)
    return Comparison(values=values, below=below, above=below, method=method)


def best(entries: Sequence[Entry], direction: Direction) -> list[int]:
    """`compare(entries).best(direction)`, for which all entries are compared with the best one alone where that tells
    as much: of a thousand entries, a thousandth of the work."""
    valued = [i for i, entry in enumerate(entries) if entry.values]
    if not 2 < len(valued) <= len(entries) <= MOST:
        return compare(entries).best(direction)
    means = np.array([entries[i].moments[0] for i in valued])
    some, top = [entries[i] for i in valued], 0
    for _ in range(2):  # against the first, which tells which is the best, and against that one
        against = np.array([top])
        with np.errstate(over="ignore", invalid="ignore"):
            lower, upper, blocked = (part[:, 0] for part in _half_widths(some, against))
        values = _either(blocked, means - means[top])
        last, top = top, int(np.argmax(sign_of(direction) * values))
        if top == last:
            break
    if not np.isfinite(np.delete(lower, top)).all():
        return compare(entries).best(direction)  # of some nothing is known, or nothing beside this one
    apart = (values > lower) | (-values > upper)
    return [place for i, place in enumerate(valued) if i == top or not apart[i]]


def _either(first: Array, second: Array) -> Array:
    known = np.isfinite(first)
    return np.where(known, first, second) if known.any() else second


def _half_widths(entries: Sequence[Entry], against: Places | None = None) -> tuple[Array, Array, Array]:
    """The half-widths below and above of the differences i - j, and these where they are not those of the means: of all
    entries i `[k]` and all j, or those `against` which the others are held: `[k, k]`, or `[k, against]`."""
    k = len(entries)
    against = np.arange(k) if against is None else against
    seeds, seeds_freedom, blocked = _seeds(entries, against)
    samples, samples_freedom, rest, skewness = _samples(entries, against)
    quantiles = [np.full(seeds.shape, np.nan), np.full(seeds.shape, np.nan)]
    off = np.arange(k)[:, None] != against[None, :]
    for quantile, variance, freedom, point in (
        (quantiles[0], seeds, seeds_freedom, tukey),
        (quantiles[1], samples, samples_freedom, sidak),
    ):
        measured = np.isfinite(variance) & off
        if measured.any():
            quantile[measured] = point(k, freedom[measured])
    # Seeds alone where samples are not known: unless neither entry has a spread over seeds, which is no certainty.
    sampled = np.isfinite(samples)
    known = np.isfinite(quantiles[0] * seeds) & off & (sampled | (seeds > 0))
    of_seeds = quantiles[0] ** 2 * seeds
    if sampled.any():
        halves = []
        for of_samples in unskewed(quantiles[1], skewness, samples_freedom + 1):
            part = np.where(sampled, of_samples**2, 0.0)
            whole = of_seeds + part * np.maximum(samples - rest, 0.0)
            whole = np.where(sampled, np.maximum(whole, part * samples), of_seeds)
            halves.append(np.sqrt(np.where(known, whole, np.nan)))
        lower, upper = halves
    else:
        lower = upper = np.sqrt(np.where(known, of_seeds, np.nan))
    widened = float(tukey(k, np.array(np.inf))) / NORMAL
    lacking = ~known & off
    if lacking.any():
        below, above = np.array([_reach(entry) for entry in entries]).T
        lower = np.where(lacking, widened * np.hypot(below[:, None], above[None, against]), lower)  # see `independent`
        upper = np.where(lacking, widened * np.hypot(above[:, None], below[None, against]), upper)
    return lower, upper, blocked


def _reach(entry: Entry) -> tuple[float, float]:
    """How far the entry's own interval reaches below and above its mean; NaN where it has none."""
    estimate = entry.estimate
    if estimate.low is None or estimate.high is None:
        return math.nan, math.nan
    return estimate.value - estimate.low, estimate.high - estimate.value


def _seeds(entries: Sequence[Entry], against: Places) -> tuple[Array, Array, Array]:
    """The part of seeds in each pair's variance (0 where every entry has one seed or is frozen) with its degrees of
    freedom; and the differences i - j between the same seeds, NaN where they are those of the means."""
    k = len(entries)
    shape = (k, len(against))
    varying = [i for i, entry in enumerate(entries) if not entry.frozen]
    if not any(len(entries[i].values) > 1 for i in varying):
        return np.zeros(shape), np.full(shape, np.inf), np.full(shape, np.nan)
    counts = np.array([len(entries[i].values) for i in varying], dtype=np.float64)
    within = np.array([_variance(entries[i]) for i in varying])  # NaN for a single seed
    alike = _homogeneous(within, counts)
    several = counts > 1
    degrees = float((counts[several] - 1).sum())
    pooled = float((within[several] * (counts[several] - 1)).sum()) / degrees
    own = np.where(several & (not alike), within, pooled) / counts  # a single seed is taken to be like the others
    own_freedom = np.where(several & (not alike), counts - 1, degrees)
    if len(varying) == k:
        blocked = _blocked(entries, against) if alike else None
        return blocked or (*_unblocked(own, own_freedom, against, alike=alike), np.full(shape, np.nan))
    inside = np.arange(len(varying))
    blocked = _blocked([entries[i] for i in varying], inside) if alike else None
    place = np.ix_(varying, varying)
    variance, freedom, differences = np.zeros((k, k)), np.full((k, k), np.inf), np.full((k, k), np.nan)
    if blocked is not None:
        variance[place], freedom[place], differences[place] = blocked
    else:
        variance[place], freedom[place] = _unblocked(own, own_freedom, inside, alike=alike)
    frozen = sorted({*range(k)} - {*varying})
    variance[np.ix_(varying, frozen)], freedom[np.ix_(varying, frozen)] = own[:, None], own_freedom[:, None]
    variance[np.ix_(frozen, varying)], freedom[np.ix_(frozen, varying)] = own[None, :], own_freedom[None, :]
    return variance[:, against], freedom[:, against], differences[:, against]


def _unblocked(own: Array, own_freedom: Array, against: Places, *, alike: bool) -> tuple[Array, Array]:
    """Variances and degrees of freedom of differences of entries that have no seeds in common: Welch's, unless their
    spreads are `alike` and so one that is known by all of them."""
    variance = own[:, None] + own[None, against]
    if alike:
        return variance, np.broadcast_to(own_freedom[:, None], variance.shape)
    squares = own**2 / own_freedom
    return variance, variance**2 / (squares[:, None] + squares[None, against])


def _variance(entry: Entry) -> float:
    n = len(entry.values)
    return n * entry.moments[1] ** 2 if n > 1 else math.nan


def _homogeneous(variances: Array, counts: Array) -> bool:
    """Bartlett's test that the entries' variances over seeds are one."""
    several = counts > 1
    parts, degrees = variances[several], counts[several] - 1
    if len(parts) < 2:
        return True
    if not (parts > 0).all() or not np.isfinite(parts).all():
        return False
    from scipy.special import chdtrc

    total = degrees.sum()
    statistic = total * math.log(float((parts * degrees).sum() / total)) - float((degrees * np.log(parts)).sum())
    scale = 1 + (float((1 / degrees).sum()) - 1 / float(total)) / (3 * (len(parts) - 1))
    return float(chdtrc(len(parts) - 1, statistic / scale)) >= _BARTLETT


def _blocked(entries: Sequence[Entry], against: Places) -> tuple[Array, Array, Array] | None:
    """Variances, degrees of freedom and values of the differences between entries in x = entry + seed + rest; None
    where seeds do not link all entries, or nothing is left to estimate the rest from."""
    seeds = sorted({seed for entry in entries for seed in entry.values})
    k, s = len(entries), len(seeds)
    cells = np.array([[seed in entry.values for seed in seeds] for entry in entries])
    values = np.array([[entry.values.get(seed, 0.0) for seed in seeds] for entry in entries])
    freedom = int(cells.sum()) - k - s + 1
    if freedom < 1 or s < 2:
        return None
    # Entries, of which there may be a thousand, are eliminated from the normal equations of the few seeds:
    # A = diag(c) - Nᵀ diag(1 / r) N. It has rank s - 1 where the design is connected, and with its pseudo-inverse a
    # generalised inverse of the entries' own, diag(1 / r) + diag(1 / r) N A⁺ Nᵀ diag(1 / r), holds the variances of all
    # differences (Searle 1971, Linear Models, section 7.1).
    present = cells.astype(np.float64)
    rows, columns = present.sum(1), present.sum(0)
    share = present / rows[:, None]
    eigenvalues, vectors = np.linalg.eigh(np.diag(columns) - present.T @ share)
    if eigenvalues[1] < 1e-9 * eigenvalues[-1]:
        return None
    seeds_inverse = (vectors[:, 1:] / eigenvalues[1:]) @ vectors[:, 1:].T
    centred = np.where(cells, values - values[cells].mean(), 0.0)
    of_seeds = seeds_inverse @ (centred.sum(0) - share.T @ centred.sum(1))
    effects = (centred.sum(1) - present @ of_seeds) / rows
    inverse = np.diag(1 / rows)[:, against] + share @ seeds_inverse @ share[against].T
    rest = np.where(cells, centred - effects[:, None] - of_seeds[None, :], 0.0)
    diagonal = np.diag(inverse) if len(against) == k else 1 / rows + ((share @ seeds_inverse) * share).sum(1)
    spread = float((rest * rest).sum()) / freedom
    if spread <= 1e-24 * float((centred * centred).sum()):
        return None  # entries that move together to the last digit: rounding, not certainty
    pairs = spread * np.maximum(diagonal[:, None] + diagonal[None, against] - 2 * inverse, 0.0)
    return pairs, np.full(pairs.shape, float(freedom)), effects[:, None] - effects[None, against]


def _samples(entries: Sequence[Entry], against: Places) -> tuple[Array, Array, Array, Array]:
    """The part of samples in each pair's variance, its degrees of freedom, what seeds hold of it already, and the
    skewness of the differences by sample; NaN where two entries have not the same samples."""
    sets: dict[tuple[str, int], list[int]] = {}
    for i, entry in enumerate(entries):
        if entry.samples:
            first = next(iter(entry.samples.values()))
            sets.setdefault((first.data, len(first.values)), []).append(i)
    shape = (len(entries), len(entries) if sets else len(against))
    variance, freedom, rest, skewness = np.full(shape, np.nan), np.ones(shape), np.zeros(shape), np.zeros(shape)
    for members in sets.values():
        by_entry = [np.stack([x.values for x in entries[i].samples.values()]) for i in members]
        defined = np.all([np.isfinite(values).all(0) for values in by_entry], axis=0)
        if defined.sum() < 2:
            continue
        by_entry = [values[:, defined] for values in by_entry]
        means = np.stack([values.mean(0) for values in by_entry])
        count = means.shape[1]
        covariance = np.atleast_2d(np.cov(means)) / count
        diagonal = np.diag(covariance)
        place = np.ix_(members, members)
        pairs = diagonal[:, None] + diagonal[None, :] - 2 * covariance
        # Differences far below the values themselves are rounding.
        varies = pairs > 1e-12 * (diagonal[:, None] + diagonal[None, :])
        variance[place] = np.where(varies, pairs, 0.0)
        unit = math.sqrt(max(float(diagonal.max()) * count, np.finfo(float).tiny))  # cubes of large values overflow
        centred = (means - means.mean(1, keepdims=True)) / unit
        cubes, mixed = (centred**3).mean(1), (centred**2) @ centred.T / count
        third = cubes[:, None] - 3 * mixed + 3 * mixed.T - cubes[None, :]
        skewness[place] = np.where(varies, third / np.where(varies, pairs * count / unit**2, 1.0) ** 1.5, 0.0)
        freedom[place] = count - 1
        own = np.array([rest_variance(values) if len(values) > 1 else 0.0 for values in by_entry])
        rest[place] = own[:, None] + own[None, :]
    if not sets:
        return variance, freedom, rest, skewness
    return variance[:, against], freedom[:, against], rest[:, against], skewness[:, against]
