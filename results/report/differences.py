"""The differences of all pairs of a table's lines, with intervals that hold together: what the comparison reads.

A reader chooses the pairs after having seen the numbers, so the intervals are those of all pairs at once (`pairwise`).
"""

from __future__ import annotations

import math
from typing import Any

from ..columns import default_columns, role_of
from ..comparable import incomparable
from ..groups import direction_of
from ..pairwise import compare
from ..rows import metric_names
from .model import Section

LINES = 40  # of a table, up to which differences are embedded: they are quadratic


def differences(section: Section) -> dict[str, Any]:
    """By metric: `values`, `below` and `above` as matrices over the section's lines, in its order (the difference of
    line i from line j is at [i][j], None where no interval is known), or the `reason` why lines may not be compared.
    {} for a table without lines to compare, or with too many."""
    groups = section.groups
    if section.table is None or not 1 < len(groups) <= LINES:
        return {}
    metrics = metric_names(row for group in groups for row in group.rows)
    result: dict[str, Any] = {}
    for name in default_columns(groups):
        if name not in metrics or direction_of(groups, name) == "none" or role_of(groups, name) == "rate":
            continue
        if reason := incomparable(groups, name):
            result[name] = {"reason": reason}
            continue
        compared = compare([group.entry(name) for group in groups])
        result[name] = {
            "values": _plain(compared.values),
            "below": _plain(compared.below),
            "above": _plain(compared.above),
        }
    return result


def _plain(matrix: Any) -> list[list[float | None]]:
    return [[float(f"{x:.5g}") if math.isfinite(x) else None for x in line] for line in matrix.tolist()]
