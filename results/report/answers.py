"""The three questions about tokenizers, answered in a sentence each: how small, how well it comes back, how easily it
is learned. The sentences say what the table says, with the same reserve: no winner where nothing is ranked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..groups import Group, best_first, direction_of
from ..headings import name_of, unit_of
from .model import Line, Section

_NOMINAL = "bits_per_sample"
_NAMED = 4  # lines that a sentence lists


def answers(section: Section, lines: Sequence[Line]) -> list[dict[str, str]]:
    """For each question: the question, a headline, and a sentence; the headline is "not measured" where nothing is."""
    return [_small(section, lines), _well(section, lines), _learned(section, lines)]


def _small(section: Section, lines: Sequence[Line]) -> dict[str, str]:
    rate = section.plain["rate"]
    name = rate if rate is not None else _NOMINAL
    ordered = _ordered(section, lines, name, higher=False)
    kind = "" if rate is not None else " (an upper bound)"
    question = "How small does it get?"
    if not ordered:
        return _unanswered(question)
    first, last = ordered[0], ordered[-1]
    text = f"{first.name} takes the least: {_value(first, name)}{kind}."
    if last is not first:
        text += f" The most is {_value(last, name)}, by {last.name}."
    return {"question": question, "headline": f"{name_of(name)} {_value(first, name)}", "text": text}


def _well(section: Section, lines: Sequence[Line]) -> dict[str, str]:
    name = section.plain["distortion"]
    question = "How well does it come back?"
    return _unanswered(question) if name is None else _best(section, lines, name, question)


def _learned(section: Section, lines: Sequence[Line]) -> dict[str, str]:
    name = section.plain["outcome"]
    question = "How easily is it learned?"
    return _unanswered(question) if name is None else _best(section, lines, name, question)


def _best(section: Section, lines: Sequence[Line], name: str, question: str) -> dict[str, str]:
    higher = direction_of(section.groups, name) == "higher"
    ordered = _ordered(section, lines, name, higher=higher)
    if not ordered:
        return _unanswered(question)
    first, value = ordered[0], _value(ordered[0], name)
    side = "highest" if higher else "lowest"
    text = f"{first.name} has the {side} {name_of(name)}: {value}."
    reason = section.plain["incomparable"].get(name, "")
    alike = [line for line in ordered[1:] if line.plain["cells"][name][5]]
    if reason:
        text += f" No winner is named, since {reason}."
    elif alike:
        text += f" {_listed(alike)} can't be told apart from it."
    elif len(ordered) > 1 and first.plain["cells"][name][5]:
        others = "the other one" if len(ordered) == 2 else f"the other {len(ordered) - 1}"
        text += f" It is better than {others} beyond the 95 % interval of the difference."
    return {"question": question, "headline": f"{name_of(name)} {value}", "text": text}


def _ordered(section: Section, lines: Sequence[Line], name: str, *, higher: bool) -> list[Line]:
    valued = [line for line in lines if line.plain["cells"].get(name, [None])[0] is not None]
    return best_first(valued, lambda line: line.plain["cells"][name][0], descending=higher)


def _value(line: Line, name: str) -> str:
    cell: list[Any] = line.plain["cells"][name]
    margin = f" ± {cell[2]}" if len(cell) > 2 and cell[2] else ""
    unit = _unit(line.group, name)
    return f"{cell[1]}{margin}{' ' + unit if unit else ''}"


def _unit(group: Group, name: str) -> str:
    metric = next((row.metrics[name] for row in group.rows if name in row.metrics), None)
    return unit_of(name, metric.unit if metric is not None else "")


def _listed(lines: Sequence[Line]) -> str:
    titles = [line.name for line in lines]
    if len(titles) > _NAMED:
        return f"{', '.join(titles[:_NAMED])} and {len(titles) - _NAMED} more"
    return titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} and {titles[-1]}"


def _unanswered(question: str) -> dict[str, str]:
    return {"question": question, "headline": "not measured", "text": "No finished cell has a number for it."}
