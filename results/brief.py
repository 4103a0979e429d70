"""The short notes of a table: what is of this table alone, and how each column was measured, to be told once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .columns import depends_on_count
from .groups import Group, Ranking, detail
from .lines import as_lines, protocols_of
from .notes import ARROWS, doubts_notes, gate_notes, marks_notes, preset_notes, stopped_notes, unfinished_notes


def brief_notes(
    groups: Sequence[Group],
    compared: Ranking | None,
    front: Sequence[str],
    common: Mapping[str, Any],
    forbidden: Sequence[str],
    metrics: Sequence[str],
) -> list[str]:
    """What a reader needs of this table alone: what all lines share, what ranks it and what may not, its front, what
    has not finished."""
    result = [f"All lines: {', '.join(f'{axis} = {value}' for axis, value in common.items())}."] if common else []
    result += preset_notes(groups)
    if compared is not None:
        lines = sum(rank is not None for rank in compared.ranks)
        pairs = lines * (lines - 1) // 2
        differ = f": {compared.count} of {pairs} pairs of lines differ" if pairs else ""
        result.append(f"Ranked by {compared.metric} {ARROWS[compared.direction]}{differ}.")
    if front:
        result.append(f"●: on the Pareto front of {' and '.join(front)}.")
    if forbidden:
        result.append(f"Without a rank and a best: {', '.join(forbidden)}.")
    of_lines = [*doubts_notes(groups, metrics), *marks_notes(groups), *gate_notes(groups, compared)]
    return [*result, *of_lines, *stopped_notes(groups, compared), *unfinished_notes(groups)]


def footnotes(groups: Sequence[Group], metrics: Sequence[str], forbidden: Mapping[str, str]) -> dict[str, str]:
    """How each metric was measured, in a sentence; and why it ranks nothing, where it is `forbidden`."""
    result = {}
    for name in metrics:
        known = detail(groups, name)
        if known is None:
            continue
        protocols = [protocol for protocol in protocols_of(groups, name) if protocol]
        facts = [f"no rank, since {forbidden[name]}"] if name in forbidden else []
        counts = sorted({metric.n for _, metric, _ in as_lines(groups).ways(name)} - {0})
        if counts and not depends_on_count(groups, name):  # else the heading has it
            facts.append(f"n = {' to '.join(dict.fromkeys(map(str, (counts[0], counts[-1]))))}")
        facts += [" / ".join(protocols)] if protocols else []  # rates alone have several
        if facts:
            result[name] = f"{name}: {'; '.join(facts)}."
    return result
