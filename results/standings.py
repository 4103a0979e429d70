"""Tokenizers ranked by a number that is known without priors: a column of the tables, or a fitted score of proxies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .calibration.made import made_means
from .calibration.run_records import cell_name
from .calibration.score import Score, value_of
from .calibration.scored import doubts_of_origin
from .comparable import other_latents
from .errors import UserError, unknown
from .gates import CANDIDATES, DOUBTS, SCORE, places
from .groups import Group, direction_of
from .metric import Direction
from .rows import column_names


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is known of a tokenizer: its `value`, None where there is none, and in words why that is so, or in doubt."""

    value: float | None
    note: str = ""


def by_column(groups: Mapping[str, Group], column: str, better: str = "") -> tuple[dict[str, Measured], Direction]:
    """Of each group its mean over seeds, and which way is better: as the column says unless `better` ("higher",
    "lower") does. Raises UserError for a column that none of them has, and for one of which no direction is known."""
    listed = list(groups.values())
    values = {name: group.mean(column) for name, group in groups.items()}
    if all(value is None for value in values.values()):
        known = column_names([row for group in listed for row in group.rows])
        measured = [name for name in known if any(group.mean(name) is not None for group in listed)]
        raise unknown("column with numbers", column, measured, where="gate.by")
    direction = _direction(better) if better else direction_of(listed, column)
    if direction == "none":
        raise UserError(f'gate.by: {column} says not which way is better: add gate.better = "lower" or "higher"')
    return {
        name: Measured(value=value, note="" if value is not None else f"it has no {column}")
        for name, value in values.items()
    }, direction


def by_score(groups: Mapping[str, Group], score: Score) -> tuple[dict[str, Measured], Direction]:
    """Of each group the fitted score of its means over seeds, of which less is better, with what is to be doubted of
    it. Raises UserError where none has one."""
    result = {}
    for name, group in groups.items():
        own = {term.proxy: mean for term in score.terms if (mean := group.mean(term.proxy)) is not None}
        value, doubts = value_of(score, made_means(group) | own, group.modality)
        doubts += [doubt for row in group.rows for doubt in doubts_of_origin(row, score)]
        result[name] = Measured(value=value, note="; ".join(dict.fromkeys(doubts)))
    if all(measured.value is None for measured in result.values()):
        raise UserError(f"gate.score: no tokenizer has a score: {next(iter(result.values())).note}")
    return result, "lower"


def standings(
    groups: Mapping[str, Group], *, column: str = "", score: Score | None = None, better: str = ""
) -> dict[str, Any]:
    """Plain data for a gate's record: what ranks, which way is better, of each candidate its name, value, place and a
    note, and what is to be doubted of all. Raises UserError as `by_column` and `by_score` do."""
    if score is None:
        measured, direction = by_column(groups, column, better)
        incomparable = other_latents(list(groups.values()), column)
    else:
        measured, direction = by_score(groups, score)
        incomparable = ""
    by = column or SCORE
    ranks = places({name: item.value for name, item in measured.items()}, higher=direction == "higher")
    return {
        "by": by,
        "direction": direction,
        CANDIDATES: {
            name: {
                "name": cell_name(group),
                "value": measured[name].value,
                "place": ranks[name],
                "note": measured[name].note,
            }
            for name, group in groups.items()
        },
        DOUBTS: [f"it may not order them well, since {incomparable}"] if incomparable else [],
    }


def _direction(text: str) -> Direction:
    return "higher" if text == "higher" else "lower"
