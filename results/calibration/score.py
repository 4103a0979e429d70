"""A score of few proxies, fitted on some families of tokenizers and tested on those it has not seen.

The score of a tokenizer is intercept + Σ coefficient · (x − mean) / deviation, x a proxy (its logarithm where it is
positive everywhere). Lower is better: it predicts the outcome of its table in deviations from the table's mean, so that
tables of several modalities can be fitted together, and a score orders tokenizers of one table. Priors of codes and of
values are different models, and fall short of their closed forms by different amounts: where both are known well enough
`codes`, 1 or 0, is a term too, which no proxy has to explain.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from ..display import printable
from ..errors import UserError
from .correlation import Array
from .levels import Correlation, Rows, correlate, resample
from .made import CODES, KINDS
from .observations import Observations

FORMAT = 1
FAR = "far from what was fitted"
_RIDGE = 0.5  # of a row: rows are few, and proxies go together
_LEAST_FAMILIES = 4
_LARGEST = 1e100  # of a value
_TINY = 1e-9  # of the outcome's variance
_LEVEL = 0.05  # how often a step takes a proxy that says nothing
DRAWS = 1000  # resamples of families behind an interval


@dataclass(frozen=True, kw_only=True)
class Term:
    """One proxy in a score: how it enters, the range of it that the score was fitted on, and the protocol by which it
    was measured there ("" where that is not known; a line for each of several)."""

    proxy: str
    logarithm: bool
    mean: float
    deviation: float
    coefficient: float
    low: float
    high: float
    protocol: str = ""

    def of(self, value: float) -> float:
        """What the term adds for a tokenizer with this value of the proxy. Raises ValueError for a logarithm of
        nothing."""
        x = math.log(value) if self.logarithm else value
        return self.coefficient * (x - self.mean) / self.deviation


@dataclass(frozen=True, kw_only=True)
class Skill:
    """How a score does on rows it was not fitted on: the share of the outcome's variance that it predicts (1 − squared
    error over that of the mean of the other rows: 0 or less is no skill), and the rank correlation,
    None where it orders nothing."""

    n: int
    explained: float
    spearman: Correlation | None

    @property
    def is_shown(self) -> bool:
        """Whether the interval of the rank correlation lies above zero, and more than nothing is explained."""
        return self.explained > 0 and self.spearman is not None and (self.spearman.low or 0.0) > 0


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A tokenizer as predicted by a fit that saw nothing of its family (given by a number), and as measured: both in
    deviations from its table's mean, in its table's standard deviations, lower being better."""

    family: int
    predicted: float
    measured: float


@dataclass(frozen=True, kw_only=True)
class Score:
    """A fitted score: terms (none where no proxy earned its place), what it was tested on, and where it holds.

    `families` is the skill on families left out, `tables` by table the skill of a score fitted on the other tables.
    `fitted_jobs` are the jobs that made the tokenizers that it was fitted on; empty where the tables did not name them.
    `margins` are by pair of families what `stopping.pair_margins` gives, empty where nobody asked for them. `left_out`
    are the rows in their tables' order; empty in files of before. `beyond` is the skill on families left out beyond
    knowing which tokenizers are of codes: outcome and score in deviations from the mean of their kind, and the variance
    explained against a fit of `codes` alone; None where that is no term. `kinds` are "codes" or "values" or both, those
    of which two families or more were fitted; empty where the tables don't tell them apart. `signals` are how many
    values a signal of the tables has, `samples` on how many of a prior their outcome was measured; empty where one of
    the tables does not say.
    """

    intercept: float
    terms: tuple[Term, ...]
    outcome: str
    modalities: tuple[str, ...]
    rows: int
    family_count: int
    families: Skill
    tables: Mapping[str, Skill]
    fitted_jobs: frozenset[str] = frozenset()
    margins: tuple[float, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    beyond: Skill | None = None
    kinds: tuple[str, ...] = ()
    signals: tuple[int, ...] = ()
    samples: tuple[int, ...] = ()

    @property
    def has_skill(self) -> bool:
        """Whether it has shown skill on families that it was not fitted on, and more than to tell codes from values:
        the interval of its rank correlation lies above zero, and it predicts better than the mean."""
        shown = [self.families] if self.beyond is None else [self.families, self.beyond]
        return bool(self.terms) and all(skill.is_shown for skill in shown)

    @property
    def formula(self) -> str:
        """The score as people read it."""
        parts = [f"{round(self.intercept, 12) + 0.0:.3g}"]  # 0, and not -0
        for term in self.terms:
            x = f"log {term.proxy}" if term.logarithm else term.proxy
            sign = "−" if term.coefficient < 0 else "+"
            centre = f"{'−' if term.mean > 0 else '+'} {abs(term.mean):.4g}"
            parts.append(f"{sign} {abs(term.coefficient):.3g} ({x} {centre}) / {term.deviation:.3g}")
        return "modelability_score = " + " ".join(parts)


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """All rows of all tables: proxies (n, p), standardised outcome (n,), family and table of each as numbers. The first
    `given` columns are of every fit, and chosen by none."""

    names: tuple[str, ...]
    logarithm: NDArray[np.bool_]
    raw: Array
    x: Array
    y: Array
    outcomes: tuple[Array, ...]
    family: NDArray[np.intp]
    table: NDArray[np.intp]
    given: int = 0


def fit_score(
    tables: Sequence[Observations], *, terms: int = 2, least: int = 0, seed: int = 0, draws: int = DRAWS
) -> Score:
    """Fit a score of at most `terms` proxies to the tables, and test it on each family left out in turn, choice of
    proxies included; where there are several tables, on each table left out too.

    Proxies, not baselines, that every tokenizer has are candidates. Beside them the column `codes` is a term that is
    not counted, where two families or more are of codes and two of values. How many are taken, none among them, and
    which, is decided by the error on left-out families of the rows that the score is fitted on; the `least` best ones
    are taken whether or not they help for certain. `draws` are the resamples behind ρ's intervals. Raises UserError
    for fewer than four families, or where no proxy is common to all rows.
    """
    data = together(tables)
    if len(np.unique(data.family)) < _LEAST_FAMILIES:
        raise UserError(
            f"a score is tested on families that it has not seen, and needs {_LEAST_FAMILIES} of them; there are "
            f"{len(np.unique(data.family))}"
        )
    everything = np.arange(len(data.y))
    guesses, means = _left_out(data, data.family, everything, terms, least)
    chosen, intercept, weights, centre, spread = fit_terms(data, everything, terms, least)
    low, high = data.raw.min(0), data.raw.max(0)
    return Score(
        intercept=intercept,
        terms=tuple(
            Term(
                proxy=data.names[j],
                logarithm=bool(data.logarithm[j]),
                mean=float(centre[k]),
                deviation=float(spread[k]),
                coefficient=float(weights[k]),
                low=float(low[j]),
                high=float(high[j]),
                protocol=_protocol(tables, data.names[j]),
            )
            for k, j in enumerate(chosen)
        ),
        outcome=tables[0].outcome,
        modalities=tuple(sorted({table.modality for table in tables if table.modality})),
        rows=len(data.y),
        family_count=len(np.unique(data.family)),
        families=_skill(data, everything, guesses, means, seed, draws),
        tables=_by_table(data, tables, terms, least, seed, draws),
        fitted_jobs=frozenset(job for table in tables for item in table.items for job in item.jobs),
        left_out=tuple(
            LeftOut(family=int(family), predicted=float(guess), measured=float(y))
            for family, guess, y in zip(data.family, guesses, data.y, strict=True)
        ),
        beyond=_beyond_kinds(data, guesses, seed, draws) if chosen and data.given else None,
        kinds=tuple(kind for kind, families in _families_by_kind(tables).items() if families > 1),
        signals=_all_of([table.signal for table in tables]),
        samples=_all_of([table.samples for table in tables]),
    )


def value_of(score: Score, values: Mapping[str, float], modality: str = "") -> tuple[float | None, list[str]]:
    """A tokenizer's score, and why it is to be doubted or, where it is None, why there is none.

    It is withheld where a proxy is missing, and where one lies beyond the fitted range by more than the range's own
    width (on the scale on which it enters); within that, and for a modality that was not fitted, it is given with a
    warning.
    """
    if not score.terms:
        return None, ["no proxy earned a place in the score"]
    warnings = []
    if score.modalities and modality and modality not in score.modalities:
        warnings.append(f"{modality} was not fitted ({', '.join(score.modalities)})")
    kind = KINDS.get(values.get(CODES))
    if score.kinds and kind is not None and kind not in score.kinds:
        warnings.append(f"{kind} were not fitted ({', '.join(score.kinds)} were), or in one family alone")
    total = score.intercept
    for term in score.terms:
        value = values.get(term.proxy)
        if value is None or not math.isfinite(value) or (term.logarithm and value <= 0):
            return None, [f"{term.proxy} is {'missing' if value is None else value}"]
        low, at, high = ((math.log(v) if term.logarithm else v) for v in (term.low, value, term.high))
        beyond = max(low - at, at - high, 0.0)
        place = f"{term.proxy} lies outside {term.low:.4g} to {term.high:.4g}"
        if beyond > high - low:
            return None, [f"{place}, {FAR}"]
        if beyond > 0:
            warnings.append(place)
        total += term.of(value)
    return total, warnings


def _protocol(tables: Sequence[Observations], proxy: str) -> str:
    """The protocols by which the proxy was measured in the tables, a line each; "" where one does not say."""
    protocols = [predictor.protocol for table in tables for predictor in table.predictors if predictor.name == proxy]
    return "\n".join(dict.fromkeys("\n".join(protocols).split("\n"))) if all(protocols) else ""


def _all_of(values: Sequence[int | None]) -> tuple[int, ...]:
    known = [value for value in values if value is not None]
    return tuple(sorted(set(known))) if len(known) == len(values) else ()


def together(tables: Sequence[Observations]) -> ScoreTable:
    """The rows of all tables with the proxies that all of them have. Raises UserError where there is none.

    Proxies are moved to one mean, as outcomes are: what a table's signals have in common tells no tokenizers apart.
    """
    names = [p.name for p in tables[0].predictors if not p.baseline and p.name != CODES]
    items = [(number, table, item) for number, table in enumerate(tables) for item in table.items]
    names = [name for name in names if all(name in item.values for _, _, item in items)]
    given = [CODES] if names and _can_tell_kinds(tables) else []
    names = [*given, *names]
    raw: Array = np.array([[item.values[name] for name in names] for _, _, item in items]).reshape(-1, len(names))
    _refuse_large([*zip(names, raw.T, strict=True), *((t.outcome, [i.mean for i in t.items]) for t in tables)])
    varies = raw.std(0) > 1e-9 * (np.abs(raw).max(0, initial=0) + 1e-12) if names else np.zeros(0, dtype=bool)
    names, raw = [name for name, varying in zip(names, varies, strict=True) if varying], raw[:, varies]
    if len(names) == len(given):
        raise UserError("a score needs a proxy that all tokenizers have and that varies")
    logarithm = np.asarray((raw > 0).all(0), dtype=np.bool_)
    x = np.where(logarithm, np.log(np.where(raw > 0, raw, 1)), raw)
    everywhere = x.mean(0)
    y, outcomes = np.empty(len(items)), []
    number = np.array([n for n, _, _ in items], dtype=np.intp)
    for n, table in enumerate(tables):
        part = np.flatnonzero(number == n)
        means = np.array([item.mean for item in table.items])
        sign = -1.0 if table.direction == "higher" else 1.0
        deviation = float(means.std()) or 1.0
        x[part] += everywhere - x[part].mean(0)
        y[part] = sign * (means - means.mean()) / deviation
        outcomes += [sign * (np.array(item.outcome) - means.mean()) / deviation for item in table.items]
    keys = [(item.family if table.families > 1 else item.name) for _, table, item in items]
    labels = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    return ScoreTable(
        names=tuple(names),
        logarithm=logarithm,
        raw=raw,
        x=x,
        y=y,
        outcomes=tuple(outcomes),
        family=np.array([labels[key] for key in keys], dtype=np.intp),
        table=number,
        given=len(given),
    )


def _refuse_large(columns: Iterable[tuple[str, ArrayLike]]) -> None:
    for name, values in columns:
        largest = float(np.max(np.abs(values), initial=0.0))
        if largest > _LARGEST:
            raise UserError(
                f"{printable(name)}: a score squares its values, and one is {largest:.3g}: expected {_LARGEST:g} at "
                "most, as in another unit"
            )


def _families_by_kind(tables: Sequence[Observations]) -> dict[str, int]:
    """How many families there are of codes and of values; none where a tokenizer does not say which it is."""
    families: dict[float | None, set[tuple[int, str]]] = {}
    for number, table in enumerate(tables):
        for item in table.items:
            families.setdefault(item.values.get(CODES), set()).add((number, item.family))
    return {KINDS[kind]: len(of) for kind, of in families.items()} if families.keys() <= KINDS.keys() else {}


def _can_tell_kinds(tables: Sequence[Observations]) -> bool:
    """Whether a family that is left out leaves others of its kind, codes or values, whichever it is."""
    counts = _families_by_kind(tables)
    return len(counts) == len(KINDS) and min(counts.values()) > 1


def _solve(x: Array, y: Array) -> tuple[float, Array, Array, Array]:
    """Ridge regression on standardised columns: intercept, weights, and the columns' means and deviations."""
    centre, spread = x.mean(0), x.std(0)
    spread = np.where(spread > 0, spread, 1.0)
    z = (x - centre) / spread
    weights = np.linalg.solve(z.T @ z + _RIDGE * np.eye(x.shape[1]), z.T @ (y - y.mean()))
    return float(y.mean()), weights, centre, spread


def _errors(data: ScoreTable, rows: NDArray[np.intp], columns: Sequence[int]) -> Array:
    """The squared errors (n,) of a fit on the given columns, each row's by the other families' fit."""
    errors = np.empty(len(rows))
    x, y, family = data.x[rows][:, np.array(columns, dtype=np.intp)], data.y[rows], data.family[rows]
    for label in np.unique(family):
        inside = family == label
        guess = np.full(int(inside.sum()), y[~inside].mean())
        if len(columns):
            intercept, weights, centre, spread = _solve(x[~inside], y[~inside])
            guess = intercept + ((x[inside] - centre) / spread) @ weights
        errors[inside] = (guess - y[inside]) ** 2
    return errors


def fit_terms(
    data: ScoreTable, rows: NDArray[np.intp], terms: int, least: int = 0
) -> tuple[list[int], float, Array, Array, Array]:
    """Forward selection, as far as the error on left-out families falls for certain: by Student's t over families,
    whose rows share their noise, corrected for the proxies that were tried; and of `least` proxies in any case. What is
    given comes first wherever a proxy is taken."""
    given = [*range(data.given)]
    path: list[int] = []
    chosen, errors = 0, min((_errors(data, rows, start) for start in ([], given)), key=lambda e: float(e.mean()))
    while len(path) < min(terms, len(data.names) - data.given):
        rest = [j for j in range(data.given, len(data.names)) if j not in path]
        tried = {j: _errors(data, rows, [*given, *path, j]) for j in rest}
        path.append(min(rest, key=lambda j: float(tried[j].mean())))
        if _is_certain(errors, tried[path[-1]], data.family[rows], tried=len(rest)):
            chosen, errors = len(path), tried[path[-1]]
    path = path[: max(chosen, least)]
    path = [*given, *path] if path else []
    return path, *_solve(data.x[rows][:, np.array(path, dtype=np.intp)], data.y[rows])


def _is_certain(before: Array, after: Array, family: NDArray[np.intp], *, tried: int) -> bool:
    """Whether the squared error falls, where the best of so many was taken: by the mean over families of the logarithm
    of its ratio, so that no one family decides."""
    parts = [family == label for label in np.unique(family)]
    means = np.array([math.log((before[part].mean() + _TINY) / (after[part].mean() + _TINY)) for part in parts])
    error = means.std(ddof=1) / math.sqrt(len(means))
    return bool(means.mean() > stdtrit(len(means) - 1, 1 - _LEVEL / tried) * error)


def _left_out(
    data: ScoreTable, groups: NDArray[np.intp], rows: NDArray[np.intp], terms: int, least: int
) -> tuple[Array, Array]:
    """Each row's score by a fit, proxies chosen anew, on the rows of the other groups; and the mean of these."""
    guesses, means = np.empty(len(rows)), np.empty(len(rows))
    for label in np.unique(groups[rows]):
        inside = groups[rows] == label
        chosen, intercept, weights, centre, spread = fit_terms(data, rows[~inside], terms, least)
        guesses[inside] = intercept + ((data.x[np.ix_(rows[inside], chosen)] - centre) / spread) @ weights
        means[inside] = data.y[rows[~inside]].mean()
    return guesses, means


def _skill(data: ScoreTable, rows: NDArray[np.intp], guesses: Array, means: Array, seed: int, draws: int) -> Skill:
    y = data.y[rows]
    around = Rows(
        x=guesses, outcomes=[data.outcomes[i] for i in rows], family=data.family[rows], place=np.arange(len(rows))
    )
    order = correlate("overall", "spearman", around, resample(around, draws, seed))
    explained = 1 - float(((guesses - y) ** 2).sum()) / float(((means - y) ** 2).sum())
    return Skill(n=len(rows), explained=explained, spearman=order)


def _beyond_kinds(data: ScoreTable, guesses: Array, seed: int, draws: int) -> Skill:
    """See `Score.beyond`."""
    kinds = data.raw[:, 0] + 2 * data.table
    rows = np.arange(len(data.y))
    by_kind = [kinds == kind for kind in np.unique(kinds)]
    y, x = data.y.copy(), guesses.copy()
    for part in by_kind:
        y[part] -= y[part].mean()
        x[part] -= x[part].mean()
    outcomes = tuple(own + new - old for own, new, old in zip(data.outcomes, y, data.y, strict=True))
    ranks = _skill(replace(data, y=y, outcomes=outcomes), rows, x, np.zeros(len(y)), seed, draws).spearman
    alone = float(_errors(data, rows, range(data.given)).sum())
    return Skill(n=len(y), explained=1 - float(((guesses - data.y) ** 2).sum()) / alone, spearman=ranks)


def _by_table(
    data: ScoreTable, tables: Sequence[Observations], terms: int, least: int, seed: int, draws: int
) -> dict[str, Skill]:
    if len(tables) < 2:
        return {}
    everything = np.arange(len(data.y))
    guesses, means = _left_out(data, data.table, everything, terms, least)
    return {
        table.title: _skill(data, part, guesses[part], means[part], seed, draws)
        for number, table in enumerate(tables)
        if len(part := np.flatnonzero(data.table == number)) > 2
    }
