"""A calibration: every proxy's correlations with the outcome, what chance and rate alone would do, and its cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..metric import NORMAL
from ..quantiles import student
from .chance import corrected_p
from .correlation import KINDS, Array, Kind, coefficient, coefficients, partial, scale
from .levels import LEAST_ROWS, LEVELS, Correlation, Level, Rows, correlate, interval, resample, seed_variance
from .observations import FAMILY_MEAN, Observations, Predictor
from .reliability import Ceiling, ceiling
from .seeds import seed_correlation

DRAWS = 1000  # resamples of an interval
_PARTIAL_DRAWS = 300
_CEILING_DRAWS = 300

Ceilings = Mapping[tuple[Kind, Level], Ceiling]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Of the pairs of tokenizers whose outcomes truly differ, the share that the proxy puts in the right order."""

    agree: float
    pairs: int
    tested: bool


@dataclass(frozen=True, kw_only=True)
class Regret:
    """How much worse the outcome of the proxy's best tokenizer is than the best outcome of all tokenizers, those too of
    which the proxy has no value; and of one drawn from all at random."""

    picked: str
    value: float
    random: float


@dataclass(frozen=True, kw_only=True)
class ProxyReport:
    """One proxy's line.

    `correlations` are by kind and level; `ceilings` are those of the rows that have the proxy; `p` by level, of
    Spearman's and corrected for the proxies tried (none for baselines); `partial` holds rate and distortion fixed;
    `gain` is |ρ| less the best baseline's; `seed_correlation` says how far it predicts differences between seeds of
    one tokenizer. Where no direction is declared, order and regret take that of the data, which flatters: `assumed`.
    """

    predictor: Predictor
    n: int
    correlations: Mapping[tuple[Kind, Level], Correlation]
    ceilings: Ceilings
    p: Mapping[Level, float]
    partial: Correlation | None
    gain: Correlation | None
    seed_correlation: Correlation | None
    pairs: Pairs | None
    regret: Regret | None
    assumed: bool

    def share(self, kind: Kind, level: Level) -> float | None:
        """A coefficient as a share of what the outcome's noise allows over the same rows; None where that is not
        known."""
        value, limit = self.correlations.get((kind, level)), self.ceilings.get((kind, level))
        return None if value is None or limit is None or not limit.attainable else value.value / limit.attainable


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """All proxies of a table, the best first; the ceilings that the outcome's own noise sets over all rows; and the
    name of the baseline with the largest |ρ| of those that most tokenizers have (of all, where there is none), if one
    has any."""

    observations: Observations
    ceilings: Ceilings
    proxies: tuple[ProxyReport, ...]
    dullest: str | None


def calibrate(observations: Observations, *, draws: int = DRAWS, seed: int = 0) -> Calibration:
    """Compare every predictor of the observations with the outcome. Deterministic for a seed."""
    everything = {predictor.name: observations.rows(predictor.name) for predictor in observations.predictors}
    tried = {p.name: everything[p.name] for p in observations.predictors if not p.baseline}
    levels: Sequence[Level] = LEVELS if observations.families > 1 else ("overall",)
    p_values = {level: corrected_p(level, tried, seed=seed) for level in levels}
    dull = [predictor.name for predictor in observations.predictors if predictor.baseline]
    most = [name for name in dull if len(everything[name]) > len(observations.items) / 2]
    dullest = max(most or dull, key=lambda name: _magnitude(everything[name]), default=None)
    known: dict[bytes, Ceilings] = {}  # by the rows that they are of, which many proxies share

    def ceilings(rows: Rows) -> Ceilings:
        own = rows.place.tobytes()
        if own not in known:
            known[own] = _ceilings(rows, levels, min(draws, _CEILING_DRAWS))
        return known[own]

    reports = [
        _report(observations, predictor, everything, ceilings, levels, p_values, dullest, draws, seed)
        for predictor in observations.predictors
    ]
    reports.sort(key=lambda report: (report.predictor.baseline, -_strength(report)))
    return Calibration(
        observations=observations,
        ceilings=ceilings(observations.complete()),
        proxies=tuple(reports),
        dullest=dullest,
    )


def _ceilings(rows: Rows, levels: Sequence[Level], draws: int) -> Ceilings:
    """By kind and level, with the interval of Spearman's, which is the one that is shown."""
    limits = {(k, level): ceiling(level, k, rows, draws=draws * (k == "spearman")) for k in KINDS for level in levels}
    return {key: limit for key, limit in limits.items() if limit is not None}


def _strength(report: ProxyReport) -> float:
    overall = report.correlations.get(("spearman", "overall"))
    return abs(overall.value) if overall is not None else -1.0


def _report(
    observations: Observations,
    predictor: Predictor,
    everything: Mapping[str, Rows],
    ceilings: Callable[[Rows], Ceilings],
    levels: Sequence[Level],
    p_values: Mapping[Level, Mapping[str, float]],
    dullest: str | None,
    draws: int,
    seed: int,
) -> ProxyReport:
    rows = everything[predictor.name]
    if predictor.name == FAMILY_MEAN:  # the same for all rows of a family but for the one left out: none within
        levels = ("overall",)
    correlations: dict[tuple[Kind, Level], Correlation] = {}
    if len(rows) > 2:
        drawn = resample(rows, draws, seed)
        for kind in KINDS:
            for level in levels:
                result = correlate(level, kind, rows, drawn)
                if result is not None:
                    correlations[kind, level] = result
    overall = correlations.get(("spearman", "overall"))
    sign, assumed = _sign(observations, predictor, overall)
    return ProxyReport(
        predictor=predictor,
        n=len(rows),
        correlations=correlations,
        ceilings=ceilings(rows),
        p={level: p_values[level][predictor.name] for level in levels if predictor.name in p_values[level]},
        partial=_partial(observations, predictor, rows, seed),
        gain=None if predictor.baseline or dullest is None else _gain(rows, everything[dullest], draws, seed),
        seed_correlation=seed_correlation(observations, predictor.name, draws, seed),
        pairs=_pairs(rows, sign) if sign else None,
        regret=_regret(observations, rows, sign) if sign else None,
        assumed=assumed,
    )


def _sign(observations: Observations, predictor: Predictor, overall: Correlation | None) -> tuple[int, bool]:
    """1 where a larger value is said to go with a larger outcome, -1 with a smaller one; and whether the data said it
    (0 where not even they do)."""
    if predictor.name == FAMILY_MEAN:
        return 1, False
    if "none" not in (predictor.direction, observations.direction):
        return (1 if predictor.direction == observations.direction else -1), False
    if overall is None or not overall.value:
        return 0, True
    return int(math.copysign(1, overall.value)), True


def _magnitude(rows: Rows) -> float:
    value = coefficient("spearman", rows.x, rows.y)
    return -1.0 if math.isnan(value) else abs(value)


def _gain(rows: Rows, other: Rows, draws: int, seed: int) -> Correlation | None:
    """|ρ| of the rows less that of the best baseline, over the rows that have both, with the normal interval of the
    resamples' standard deviation. That the baseline is the best of several favours it."""
    common = [i for i, place in enumerate(rows.place) if place in other.place]
    rows, other = rows.only(common), other.only([i for i, place in enumerate(other.place) if place in rows.place])
    value = _magnitude(rows) - _magnitude(other)
    if len(common) < LEAST_ROWS or min(_magnitude(rows), _magnitude(other)) < 0:
        return None
    drawn = resample(rows, draws, seed)
    first, second = (np.abs(coefficients("spearman", side.x, drawn.y, drawn.weights)) for side in (rows, other))
    half = NORMAL * float(np.nanstd(first - second, ddof=1))
    return Correlation(value=value, low=value - half, high=value + half, n=len(common))


def _pairs(rows: Rows, sign: int) -> Pairs | None:
    """Pairs differ truly where Student's t over seeds says so, with one variance for all rows; where rows have one
    seed, all pairs with different outcomes count. Equal values of the proxy are half right."""
    y, tested = rows.y, bool(rows.outcomes) and all(len(values) > 1 for values in rows.outcomes)
    limit = np.zeros((len(rows), len(rows)))
    if tested:
        counts = np.array([len(values) for values in rows.outcomes])
        size = scale(y)
        variance, freedom = seed_variance([values * size for values in rows.outcomes])
        limit = student(freedom) * np.sqrt(variance * (1 / counts[:, None] + 1 / counts[None, :])) / size
    i, j = np.triu_indices(len(rows), 1)
    gap = y[i] - y[j]
    differ = np.abs(gap) > np.maximum(limit[i, j], 1e-12)
    if not differ.any():
        return None
    right = sign * np.sign(rows.x[i] - rows.x[j])[differ] * np.sign(gap[differ])
    return Pairs(agree=float(((right + 1) / 2).mean()), pairs=int(differ.sum()), tested=tested)


def _regret(observations: Observations, rows: Rows, sign: int) -> Regret | None:
    if len(rows) < 2 or observations.direction == "none":
        return None
    better = -1 if observations.direction == "lower" else 1
    cost, everyones = -better * rows.y, -better * observations.complete().y  # lower is better
    scores = -better * sign * rows.x
    best = float(everyones.min())
    tied = np.flatnonzero(scores == scores.min())
    return Regret(
        picked=observations.items[rows.place[tied[0]]].name if len(tied) == 1 else f"{len(tied)} alike",
        value=float(cost[tied].mean()) - best,
        random=float(everyones.mean()) - best,
    )


def _partial(observations: Observations, predictor: Predictor, rows: Rows, seed: int) -> Correlation | None:
    """Spearman's partial coefficient with rate and distortion held fixed, over the rows that have them."""
    fixed = [name for name in observations.fixed if name != predictor.name]
    if not fixed or predictor.name == FAMILY_MEAN:
        return None
    columns = [[observations.items[i].values.get(name) for name in fixed] for i in rows.place]
    full = [i for i, values in enumerate(columns) if None not in values]
    held: Array = np.array([columns[i] for i in full], dtype=float).reshape(len(full), len(fixed))
    rows = rows.only(full)
    value = partial(rows.x, rows.y, held)
    if math.isnan(value):
        return None
    drawn = resample(rows, _PARTIAL_DRAWS, seed)
    values = []
    for weights, y in zip(drawn.weights.astype(int), drawn.y, strict=True):
        members = np.repeat(np.arange(len(rows)), weights)
        values.append(partial(rows.x[members], y[members], held[members]))
    return interval("overall", "spearman", value, np.array(values), rows, spent=len(fixed))
