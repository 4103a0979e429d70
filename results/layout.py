"""Which columns of a table are shown where room is short: those that decide first."""

from __future__ import annotations

from collections.abc import Callable

from .columns import leads, rate_of, role_of
from .groups import direction_of
from .tables import Table

Size = Callable[[int], float]  # the room that a table's column takes, by its index


def deciding(table: Table, size: Size, room: float) -> list[int]:
    """The indices of the columns that fit into `room`, in the order in which they are read: which line it is, its rank,
    then what decides (TSR, rate, distortion, distance of samples, modelability), and seconds at the end."""
    names = [column.name for column in table.columns]
    first = [i for i, column in enumerate(table.columns) if column.key or column.name == "rank"]
    shown = list(first)
    decisive = _decisive(table)
    for name in dict.fromkeys([*decisive[:2], "tsr", *decisive, "seconds", "pareto", "seeds", *names]):
        if name in names and (i := names.index(name)) not in shown and sum(map(size, [*shown, i])) <= room:
            shown.append(i)
    return sorted(shown, key=lambda i: (i not in first and names[i] == "seconds", i))


def pages_of(table: Table, size: Size, room: float) -> list[list[int]]:
    """The indices of the columns of each piece of a table that continues below itself; key columns are repeated."""
    keys = [i for i, column in enumerate(table.columns) if column.key]
    pages: list[list[int]] = [[]]
    for i in range(len(table.columns)):
        page = pages[-1]
        if len(page) > len(keys) and sum(map(size, [*page, i])) > room:
            pages.append([*keys, i] if i not in keys else list(keys))
        else:
            page.append(i)
    return pages


def _decisive(table: Table) -> list[str]:
    """The metrics that decide: rate, distortion, distance of samples, modelability, each by what leads its sort."""
    metrics = {name for group in table.groups for row in group.rows for name in row.metrics}
    names = [column.name for column in table.columns if column.name in metrics]

    def of(role: str, *, samples: bool = False) -> list[str]:
        # distances of reconstructions are of the same role as those of samples, which decide
        those = [n for n in names if role_of(table.groups, n) == role and (not samples or n.startswith("g"))]
        return sorted(those, key=lambda n: (not leads(table.groups, n), direction_of(table.groups, n) == "none"))[:1]

    scores = of("distribution", samples=True) or of("generation") or of("distribution")
    decisive = [table.ranked_by, rate_of(table.groups), *of("distortion"), *scores, *of("modelability")]
    rest = [n for n in names if leads(table.groups, n)]
    return [name for name in dict.fromkeys([*decisive, *rest]) if name is not None]
