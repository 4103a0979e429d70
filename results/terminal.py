"""A table as rich draws it on a terminal: the columns that decide, as many as fit, and short numbered notes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from rich import box
from rich.console import RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from .columns import leads, rate_of, role_of
from .display import printable
from .notes import ARROWS
from .tables import Column, Table, TableCell

_HEAD = 13  # columns of a heading, which is broken at its underscores
_NAME = (18, 28)  # columns of a text column, which is folded, on a narrow terminal and on a wide one
_WIDE = 120
_GAP = 2  # columns between columns
_NOTE = 150  # characters of a note
# Notes that are told in full: what is not finished, what was read, where logs lie.
_WHOLE = ("Not finished:", "Data:", "Logs of failed jobs:")
# After the ranking metric and what was stored: of each sort the metrics that come first, else one.
_DECIDING = ("generation", "distribution", "distortion")


def terminal(table: Table, *, width: int, whole: bool = False) -> Iterator[RenderableType]:
    """What rich prints of a table on a terminal of `width` columns.

    Columns that do not fit are left out, the least deciding first, and named below; `whole` shows all of them, where
    the table continues below itself, and every note in full.
    """
    yield Text(printable(table.title), "bold")
    pages = pages_of(table, width) if whole else [_deciding(table, width)]
    for page in pages:
        drawn = RichTable(box=box.SIMPLE_HEAD, padding=(0, _GAP - 1, 0, 0), pad_edge=False)
        for i in page:
            column, limit = table.columns[i], _widest(table, i, width)
            side: Literal["right", "left"] = "right" if column.number else "left"
            drawn.add_column(Text(_head(column)), justify=side, overflow="fold", max_width=limit)
        for line in table.lines:
            drawn.add_row(*(Text(cell_text(line[i]), "bold" if line[i].best else "") for i in page))
        yield drawn
    shown = {i for page in pages for i in page}
    hidden = [printable(table.columns[i].title) for i in range(len(table.columns)) if i not in shown]
    columns = {table.columns[i].name for i in shown}
    notes = [_short(note, whole) for note in table.notes if whole or _concerns(note, _metrics(table), columns)]
    if hidden:
        notes.append(f"Not shown: {', '.join(hidden)} (--wide shows all, --columns A,B chooses).")
    grid = RichTable.grid(padding=(0, 1))
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(overflow="fold")
    for number, note in enumerate(notes, 1):
        grid.add_row(Text(f"{number}."), Text(note))
    yield grid
    yield Text()


def cell_text(cell: TableCell) -> str:
    """A cell as plain text, with its margin."""
    return printable(f"{cell.text}±{cell.margin}" if cell.margin else cell.text)


def pages_of(table: Table, width: int) -> list[list[int]]:
    """The indices of the columns of each piece of a table that continues below itself; key columns are repeated."""
    keys = [i for i, column in enumerate(table.columns) if column.key]
    pages: list[list[int]] = [[]]
    for i in range(len(table.columns)):
        page = pages[-1]
        if len(page) > len(keys) and _size(table, [*page, i], width) > width:
            pages.append([*keys, i] if i not in keys else list(keys))
        else:
            page.append(i)
    return pages


def _deciding(table: Table, width: int) -> list[int]:
    """The columns that fit, in the table's order: keys, rank and front, then what decides."""
    names = [column.name for column in table.columns]
    first = [i for i, column in enumerate(table.columns) if column.key or column.name == "rank"]
    metrics = [column.name for column in table.columns if column.name in _metrics(table)]
    order = [table.ranked_by, rate_of(table.groups)]
    for role in _DECIDING:
        of_role = [name for name in metrics if role_of(table.groups, name) == role and name not in order]
        order += [name for name in of_role if leads(table.groups, name)] or of_role[:1]
    order += ["pareto", "seeds", "tsr", *names]
    shown = list(first)
    for name in dict.fromkeys(order):
        if name in names and (i := names.index(name)) not in shown and _size(table, [*shown, i], width) <= width:
            shown.append(i)
    return sorted(shown)


def _metrics(table: Table) -> set[str]:
    return {name for group in table.groups for row in group.rows for name in row.metrics}


def _size(table: Table, page: Sequence[int], width: int) -> int:
    return sum(_widest(table, i, width) + _GAP for i in page) + 2


def _widest(table: Table, i: int, width: int) -> int:
    """The width that the column takes: text is folded, numbers are not."""
    head = max(len(line) for line in _head(table.columns[i]).split("\n"))
    body = max((len(cell_text(line[i])) for line in table.lines), default=1)
    return max(head, body if table.columns[i].number else min(body, _NAME[width >= _WIDE]), 1)


def _head(column: Column) -> str:
    """The column's title with its arrow, broken after underscores and before @ where it is long."""
    lines = [""]
    parts = printable(column.title).replace("_", "_\n").replace("@", "\n@").split("\n")
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part) > _HEAD:
            lines.append("")
        lines[-1] += part
    arrow = ARROWS[column.direction]
    return "\n".join(lines) + (f" {arrow}" if arrow else "")


def _concerns(note: str, metrics: set[str], columns: set[str]) -> bool:
    """Whether the note is of a column that is shown, or of the whole table: a protocol is headed by its metrics."""
    names = set(note.partition(": ")[0].split(", "))
    return not names <= metrics or bool(names & columns)


def _short(note: str, whole: bool) -> str:
    note = printable(note)
    if whole or len(note) <= _NOTE or note.startswith(_WHOLE):
        return note
    return f"{note[:_NOTE].rsplit(' ', 1)[0]} ..."
