"""A fitted score beside what was measured: `modelability_score` as a metric of finished rows."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..comparable import SCORE
from ..errors import UserError
from ..groups import doubts_column
from ..metric import NORMAL, Metric
from ..metrics import Metrics
from ..rows import Row, is_number
from .made import CODES, made, signal_of
from .score import FAR, Score, Term, value_of
from .score_file import from_json, verdict
from .text import shown
from .ways import tokenizer_job


def with_score(table: Sequence[Row], file: Path) -> list[Row]:
    """The rows with the metric `modelability_score` of a score's file, and `modelability_score_doubts`: what is to be
    doubted of a row's, or why it has none.

    It has no direction, so that nothing is ranked by it, where the score has shown no skill on families left out.
    Where one seed of a line is withheld for its distance from what was fitted, all are: the rest would be a choice.
    Raises UserError for a file that is no score, one without terms, and where no row has a score.
    """
    result = scored_rows(table, usable_score(file))
    if not any(row.metrics[SCORE].value is not None for row in result):
        reasons = next((str(reasons) for row in result if (reasons := row[doubts_column(SCORE)])), "no cells")
        raise UserError(f"{file}: no tokenizer has a score: {reasons}")
    return result


def scored_rows(table: Sequence[Row], score: Score) -> list[Row]:
    """The rows as `with_score` has them, whether or not one has a score."""
    protocol = described(score)
    result = [_scored(row, score, protocol) for row in table]
    far = {_line(row): reasons for row in result if FAR in (reasons := row[doubts_column(SCORE)] or "")}
    return [_withheld(row, far[_line(row)]) if _line(row) in far else row for row in result]


def usable_score(file: Path) -> Score:
    """The score of a file. Raises UserError for a file that is none, and for one without terms."""
    score = from_json(file)
    if not score.terms:
        raise UserError(f"{file}: {verdict(score)}")
    return score


def described(score: Score) -> str:
    """What a footnote says of a score: its formula, what it predicts, its domain, and how it did on families left
    out."""
    of = f" of {', '.join(score.modalities)}" if score.modalities else ""
    of += f" ({' and '.join(score.kinds)})" if score.kinds else ""
    of += f", signals of {' or '.join(map(str, score.signals))} values" if score.signals else ""
    of += f", outcomes on {' or '.join(map(str, score.samples))} samples" if score.samples else ""
    ranks = shown(score.families.spearman) or "none"
    skill = f"on families left out ρ {ranks}, {score.families.explained:.0%} of the variance explained"
    if score.beyond is not None:
        ranks = shown(score.beyond.spearman) or "none"
        skill += f" (beyond telling codes from values ρ {ranks}, {score.beyond.explained:.0%})"
    jobs = "" if score.fitted_jobs else "; its table names no records, so that lines here may be among those fitted"
    advice = "" if score.has_skill else "; no skill is shown, so nothing is ranked by it"
    return (
        f"{score.formula.removeprefix(f'{SCORE} = ')}; predicts {score.outcome} in deviations from its table's mean; "
        f"fitted to {score.rows} tokenizers of {score.family_count} families{of}; {skill}{advice}{jobs}; the interval "
        "is the proxies', not that of the prediction"
    )


def doubts_of_origin(row: Row, score: Score) -> list[str]:
    """What is to be doubted of a row's score whatever its value: signals of another size than where the score was
    fitted, a proxy that was measured by another protocol or nobody knows by which, and that it was fitted on this
    tokenizer."""
    doubts = []
    size = signal_of(row)
    if score.signals and size is not None and size not in score.signals:
        fitted = ", ".join(map(str, score.signals))
        doubts.append(f"signals of {size} values were not fitted ({fitted})")
    for proxy, metric in _used(row, score).items():
        protocol = next(term.protocol for term in score.terms if term.proxy == proxy)
        if proxy == CODES or metric.value is None:
            continue
        if not protocol:
            doubts.append(f"its table does not say by which protocol {proxy} was measured")
        elif metric.protocol not in protocol.split("\n"):
            doubts.append(f"{proxy} was fitted by another protocol")
    return [*doubts, "the score was fitted on it"] if tokenizer_job(row) in score.fitted_jobs else doubts


def _used(row: Row, score: Score) -> dict[str, Metric]:
    """The metrics of the row that the score reads."""
    measured = dict(row.metrics) | made(row)
    return {term.proxy: measured[term.proxy] for term in score.terms if term.proxy in measured}


def _scored(row: Row, score: Score, protocol: str) -> Row:
    used = _used(row, score)
    values = {name: float(metric.value) for name, metric in used.items() if metric.value is not None}
    for term in score.terms:  # a column that is no metric, as tsr
        if term.proxy not in used and is_number(row.get(term.proxy)):
            values[term.proxy] = float(row[term.proxy])
    kind = made(row).get(CODES)
    if kind is not None and kind.value is not None:
        values[CODES] = float(kind.value)
    value, doubts = value_of(score, values, str(row["modality"]))
    doubts += doubts_of_origin(row, score)
    half = None if value is None else _half(score.terms, used)
    metric = Metric(
        name=SCORE,
        value=value,
        se=None if half is None else half / NORMAL,
        interval=None if value is None or half is None else (value - half, value + half),
        direction="lower" if score.has_skill else "none",
        protocol=protocol,
        role="modelability",
        shown="first",
        compared="table",
    )
    columns = {**row.columns, doubts_column(SCORE): "; ".join(doubts) or None}
    return replace(row, columns=columns, metrics=Metrics.of({**row.metrics, SCORE: metric}))


def _line(row: Row) -> tuple[str, ...]:
    """What the row's other seeds share with it."""
    names = ("source", "suite", "dataset", "modality", "recipe", "label")
    return (*(str(row[name]) for name in names), json.dumps(row["axes"], sort_keys=True))


def _withheld(row: Row, reasons: str) -> Row:
    metric = replace(row.metrics[SCORE], value=None, se=None, interval=None)
    columns = {**row.columns, doubts_column(SCORE): reasons}
    return replace(row, columns=columns, metrics=Metrics.of({**row.metrics, SCORE: metric}))


def _half(terms: Sequence[Term], used: dict[str, Metric]) -> float | None:
    """The half-width of the score's 95 % interval, to first order and whatever the proxies' correlation: the sum of the
    terms' own. None where a proxy's interval is not known."""
    total = 0.0
    for term in terms:
        metric = used.get(term.proxy)
        if metric is None or metric.value is None:
            return None
        if metric.interval is not None:
            half = (metric.interval[1] - metric.interval[0]) / 2
        elif metric.se is not None:
            half = NORMAL * metric.se
        else:
            return None
        slope = abs(term.coefficient / term.deviation) / (metric.value if term.logarithm else 1.0)
        total += slope * half
    return total if math.isfinite(total) else None
