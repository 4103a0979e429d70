"""A calibration's observations from finished runs: a table per data set and outcome."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ..comparable import SCORE
from ..errors import UserError, unknown
from ..filters import select
from ..groups import Group, aggregate, direction_of, split
from ..lines import check_protocols, protocols_of
from ..metric import Direction
from ..rows import Row, column_names, is_number, metric_names, rows
from ..store import Store
from .admission import Admission, admission, is_trained_distance
from .equal_distortion import BITS, BITS_AT_EQUAL_PSNR, PSNR, bits_at_equal_psnr
from .made import CODES, made, made_by_seed, made_direction, made_means, shared_name, signal_of
from .observations import (
    FAMILY_MEAN,
    Observation,
    Observations,
    Predictor,
    choose,
    is_outcome,
    matches,
    with_family_mean,
)
from .ways import once, tokenizer_job, ways

MEAN_RANK = "mean_rank"
_FLOOR = "fd_floor_"
# Rate and distortion, the first of each that a table has: what partial correlations hold fixed.
_RATE = ("real_bits", "bits_per_sample", "elements")
_DISTORTION = ("psnr", "si_sdr", "mel_distance", "mel_spectrogram_distance")
# Kinds of job whose records say what a proxy cost.
_MEASURING = ("modelability", "closed_form", "micro_prior")
_CHOSEN = (
    "{} of them have no prior since a gate let none through: correlations with what it ranks by are too low here, "
    "as its worst are missing."
)
_STOPPED = (
    "The trainings of {} of them were stopped early: correlations with what goes with the score of their rungs are too "
    "low here, as the worst by it are missing."
)
_FACTS = ("elements", "tsr", "positions", "bits_per_sample", "parameters")


def read_runs(
    dirs: Sequence[Path],
    *,
    outcome: str | None = None,
    family: str | None = None,
    proxies: Sequence[str] | None = None,
    baselines: Sequence[str] | None = None,
    fixed: Sequence[str] = (),
    where: Sequence[str] = (),
    admit: str = "earned",
) -> list[Observations]:
    """The observations of the runs in `dirs`: tables by suite and data set.

    `outcome` is a metric, or `mean_rank`, the mean over all gFD nets of a cell's rank in its seed, or
    `bits_at_equal_psnr` (see `equal_distortion`); None takes the logarithm of the gFD that leads the leaderboard, and
    where there are several nets the mean rank too. Where tokenizers have several priors, or samplers, each such way has
    a table of its own; a tokenizer with the same prior under two labels counts once. `family` is a column (default: the
    label). Of a gFD, cells whose prior does not lie clearly below the best one in closed form are left out
    (`admission`), unless `admit` is "all". Proxies are by default the metrics about latents, baselines rate, size and
    distortion. Raises UserError for unknown columns, and where no table has three cells with the outcome.
    """
    table = select(rows(dirs), list(where))
    return observe(
        table, outcome=outcome, family=family, proxies=proxies, baselines=baselines, fixed=fixed, admit=admit
    )


def observe(
    table: Sequence[Row],
    *,
    outcome: str | None = None,
    family: str | None = None,
    proxies: Sequence[str] | None = None,
    baselines: Sequence[str] | None = None,
    fixed: Sequence[str] = (),
    admit: str = "earned",
) -> list[Observations]:
    """The observations of rows that have been read: see `read_runs`."""
    known = column_names(table)
    named = [("--outcome", outcome)] if outcome not in DERIVED else []
    makeable = {name for row in table for name in made(row)} if fixed else set()
    given = [("--given", name) for name in fixed if name not in makeable]
    for option, name in (*named, ("--family", family), *given):
        if name is not None and name not in known:
            raise unknown("column", name, [*known, *DERIVED], where=option)
    results: list[Observations] = []
    censored = 0
    together = split(aggregate(table))
    skipped: list[str] = []
    if repeated := sum(len(groups) - len(once(groups)) for groups in together):
        skipped.append(
            f"{repeated} cells are a tokenizer and prior that stand here under another name, and count once."
        )
    for way, groups in (pair for of_one in together for pair in ways(of_one)):
        title = f"{title_of(groups)}{way and f', {way}'}"
        names = [outcome] if outcome is not None else _outcomes(groups)
        if not names:
            skipped.append(f"No table of {title}: no cell has a gFD.")
        for name in names:
            if name in fixed:
                raise UserError(f"--given {name}: that is the outcome itself")
            parts = (BITS, PSNR) if name == BITS_AT_EQUAL_PSNR else (name,)
            present = metric_names(row for group in groups for row in group.rows)
            check_protocols(groups, [part for part in parts if part in present])
            judged = _admission(groups, name, admit)
            censored = max(censored, len(judged.censored))
            outcomes = _by_seed(judged.admitted, name)
            count = sum(map(bool, outcomes))
            if count < 3:
                skipped.append(_skipped(title, name, count, judged))
                continue
            result = _observations(
                judged.admitted, outcomes, name, family, proxies, baselines, fixed, logarithm=outcome is None
            )
            results.append(replace(result, title=title, way=way, notes=(*_verdict(judged), *result.notes)))
    if not results:
        needed = outcome or "a gFD (of the tasks prior and generation)"
        if outcome == BITS_AT_EQUAL_PSNR:
            needed = f"{BITS} (of priors of codes) and {PSNR}"
        if censored:
            needed = f"a prior clearly better than the best in closed form (--admit all takes {censored} others too)"
        raise UserError(f"a calibration needs three cells with {needed} on one data set")
    return [replace(results[0], notes=(*results[0].notes, *skipped)), *results[1:]]


def _skipped(title: str, outcome: str, count: int, judged: Admission) -> str:
    """The note on a table that is too small."""
    left = f" ({len(judged.censored)} more are censored: --admit all takes them)" if judged.censored else ""
    have = f"{count} cell has" if count == 1 else f"{count} cells have"
    return f"No table of {title} by {outcome}: {have} it{left}, and a calibration needs three."


def title_of(groups: Sequence[Group]) -> str:
    return f"{groups[0].suite} · {groups[0].dataset} ({groups[0].modality})"


def _outcomes(groups: Sequence[Group]) -> list[str]:
    """The leading gFD, then the mean rank where there are several."""
    metrics = [name for name in metric_names(r for g in groups for r in g.rows) if matches(name, ("gfd_*",))]
    metrics = [name for name in metrics if direction_of(groups, name) == "lower"]
    first = [n for n in metrics if any(r.metrics[n].shown == "first" for g in groups for r in g.rows if n in r.metrics)]
    return [*(first or metrics)[:1], *([MEAN_RANK] if len(metrics) > 1 else [])]


def _admission(groups: Sequence[Group], outcome: str, admit: str) -> Admission:
    nets = outcome_nets(groups) if outcome == MEAN_RANK else [outcome]
    if admit == "all" or not all(is_trained_distance(name) for name in nets):
        return Admission(admitted=tuple(groups), censored=(), untested=0)
    return admission(groups, nets)


def _verdict(judged: Admission) -> list[str]:
    notes = []
    if judged.censored:
        names = ", ".join(cell_name(group) for group in judged.censored)
        notes.append(
            f"Censored: {len(judged.censored)} cells whose prior does not lie clearly below the best one in closed "
            f"form, so that its gFD tells of too little training, are left out: {names}."
        )
    if judged.untested:
        notes.append(
            f"Whether a prior is better than one in closed form is not known of {judged.untested} cells: the task "
            "closed_form measures it."
        )
    return notes


def _observations(
    groups: Sequence[Group],
    by_seed: Sequence[dict[int, float]],
    outcome: str,
    family: str | None,
    proxies: Sequence[str] | None,
    baselines: Sequence[str] | None,
    fixed: Sequence[str],
    *,
    logarithm: bool,
) -> Observations:
    direction: Direction = "lower" if outcome in DERIVED else direction_of(groups, outcome)
    logarithm = logarithm and outcome not in DERIVED and all(v > 0 for values in by_seed for v in values.values())
    columns = _columns(groups, outcome)
    named = {*(proxies or ()), *(baselines or ())}
    pool = [
        n for n in columns if n in _FACTS or _about_latents(groups, n) or matches(n, named) or _is_distortion(groups, n)
    ]
    means = [made_means(group) if outcomes else {} for group, outcomes in zip(groups, by_seed, strict=True)]
    pool = [name for name in pool if not name.startswith(_FLOOR)]  # the data's own
    pool += dict.fromkeys(name for values in means for name in values)
    chosen, dull = choose(pool, proxies, baselines, where="records")
    fixed = list(fixed) or [
        name for names in (_RATE, _DISTORTION) if (name := next((n for n in names if n in columns), ""))
    ]
    items = []
    for group, outcomes, more in zip(groups, by_seed, means, strict=True):
        if not outcomes:
            continue
        values = {name: value for name in {*chosen, *dull, *fixed} if (value := group.mean(name)) is not None}
        values |= {name: value for name, value in more.items() if name in (*chosen, *dull, *fixed, CODES)}
        own = made_by_seed(group)
        seeds = {name: own.get(name) or group.values(name) for name in values}
        results = tuple(math.log(value) if logarithm else value for value in outcomes.values())
        items.append(
            Observation(
                name=cell_name(group),
                family=family_of(group, family),
                outcome=results,
                values=values,
                jobs=_tokenizer_jobs(group),
                by_seed={name: tuple(numbers.get(seed) for seed in outcomes) for name, numbers in seeds.items()},
            )
        )
    predictors = [
        *(Predictor(name=n, direction=_direction(groups, n), protocol=_protocol(groups, n)) for n in chosen),
        *(Predictor(name=name, direction="none", baseline=True) for name in dull),
    ]
    if with_family_mean(items):
        predictors.append(Predictor(name=FAMILY_MEAN, direction=direction, baseline=True))
    absent = len(groups) - len(items)
    chosen_by_gate = sum(bool(group.without_prior) for group in groups)
    stopped = sum(bool(group.stopped) for group in groups)
    return Observations(
        title=title_of(groups),
        modality=str(groups[0].modality),
        outcome=f"log {outcome}" if logarithm else outcome,
        direction=direction,
        items=tuple(items),
        predictors=tuple(_with_cost(groups, predictors)),
        fixed=tuple(fixed),
        signal=_one([signal_of(row) for group in groups for row in group.rows]),
        samples=_one([row.metrics[outcome].n for g in groups for row in g.rows if outcome in row.metrics]),
        notes=(
            *((f"{absent} cells without {outcome} are left out.",) if absent else ()),
            *((_CHOSEN.format(chosen_by_gate),) if chosen_by_gate else ()),
            *((_STOPPED.format(stopped),) if stopped else ()),
        ),
    )


def _one(values: Iterable[int | None]) -> int | None:
    """The value that all share; None where they differ, or there is none."""
    distinct = {*values} - {0}
    return distinct.pop() if len(distinct) == 1 else None


def _tokenizer_jobs(group: Group) -> tuple[str, ...]:
    return tuple(dict.fromkeys(job for row in group.rows if (job := tokenizer_job(row))))


def _protocol(groups: Sequence[Group], name: str) -> str:
    """The protocols of the metric, or of what such a column is made of, a line each; "" where one is not known."""
    protocols = [*protocols_of(groups, name)]
    if made_direction(name) is not None:
        metrics = (made(row).get(name) for group in groups for row in group.rows)
        protocols = [*dict.fromkeys(metric.protocol for metric in metrics if metric is not None)]
    return "\n".join(" ".join(protocol.split()) for protocol in protocols) if all(protocols) else ""


def _direction(groups: Sequence[Group], name: str) -> Direction:
    return made_direction(name) or direction_of(groups, name)


def _columns(groups: Sequence[Group], outcome: str) -> list[str]:
    table = [row for group in groups for row in group.rows]
    # A score may be fitted to these very rows.
    names = [name for name in column_names(table) if not name.endswith("_se") and name not in (outcome, SCORE)]
    return [name for name in names if any(is_number(row.get(name)) for row in table)]


def _about_latents(groups: Sequence[Group], name: str) -> bool:
    return _role(groups, name) in ("modelability", "latents", "probe")


def _is_distortion(groups: Sequence[Group], name: str) -> bool:
    return _role(groups, name) in ("distortion", "distribution", "rate") and not is_outcome(name)


def _role(groups: Sequence[Group], name: str) -> str:
    return next((row.metrics[name].role for g in groups for row in g.rows if name in row.metrics), "")


def _by_seed(groups: Sequence[Group], outcome: str) -> list[dict[int, float]]:
    if outcome in DERIVED:
        return DERIVED[outcome](groups)
    return [dict(group.values(outcome)) for group in groups]


def mean_ranks(groups: Sequence[Group]) -> list[dict[int, float]]:
    """By cell and seed the mean over gFD nets of its rank (mid-ranks) among the cells that have the seed."""
    nets = outcome_nets(groups)
    result: list[dict[int, float]] = [{} for _ in groups]
    values = {net: [group.values(net) for group in groups] for net in nets}
    for seed in sorted({seed for group in groups for row in group.rows if (seed := row["seed"]) is not None}):
        here = [i for i in range(len(groups)) if all(seed in values[net][i] for net in nets)]
        for i in here:
            ranks = []
            for net in nets:
                others = [values[net][k][seed] for k in here]
                own = values[net][i][seed]
                ranks.append(sum(v < own for v in others) + (sum(v == own for v in others) + 1) / 2)
            result[i][seed] = sum(ranks) / len(ranks)
    return result


def outcome_nets(groups: Sequence[Group]) -> list[str]:
    """The gFDs of all nets."""
    return [name for name in metric_names(r for g in groups for r in g.rows) if matches(name, ("gfd_*",))]


def cell_name(group: Group) -> str:
    """A cell's label, with its place on the axes of its grid."""
    axes = ", ".join(f"{axis}={value}" for axis, value in group.axes.items())
    return f"{group.label} ({axes})" if axes else group.label


def family_of(group: Group, column: str | None) -> str:
    return group.label if column is None else str(group.common(column))


def _with_cost(groups: Sequence[Group], predictors: Iterable[Predictor]) -> list[Predictor]:
    """The predictors with the mean seconds of what measured them, and the mean share of the full prior's FLOPs that
    training for them took, where records tell."""
    spent: dict[str, list[float]] = {}
    shares: dict[str, list[float]] = {}
    for row in (row for group in groups for row in group.rows):
        for kind in _MEASURING:
            record = Store(row["source"]).outcome(*row.jobs[kind].split("/")) if kind in row.jobs else None
            if record is None:
                continue
            seconds, measured = record.run.get("proxy_seconds"), record.extra.get("measured_by")
            if isinstance(seconds, dict) and isinstance(measured, dict):
                for metric, proxy in measured.items():
                    for name in {metric, shared_name(metric)} if is_number(seconds.get(proxy)) else ():
                        spent.setdefault(name, []).append(float(seconds[proxy]))
            trained = record.extra.get("training_share")
            for metric, share in trained.items() if isinstance(trained, dict) else ():
                if is_number(share):
                    shares.setdefault(metric, []).append(float(share))

    def mean(values: dict[str, list[float]], name: str) -> float | None:
        return sum(values[name]) / len(values[name]) if name in values else None

    return [replace(p, seconds=mean(spent, p.name), share_of_flops=mean(shares, p.name)) for p in predictors]


# Outcomes that are made here of what records hold.
DERIVED: dict[str, Callable[[Sequence[Group]], list[dict[int, float]]]] = {
    MEAN_RANK: mean_ranks,
    BITS_AT_EQUAL_PSNR: bits_at_equal_psnr,
}
