"""Tables as rich draws them on a terminal: the columns that decide, as many as fit, and short numbered notes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from rich import box
from rich.console import RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from .display import measured, printable
from .layout import deciding, pages_of
from .notes import ARROWS
from .tables import Column, Notes, Table, TableCell

_HEAD = 12  # columns of a heading, which is broken at its blanks
_NAME = (16, 28)  # columns of a text column, which is folded, on a narrow terminal and on a wide one
_WIDE = 120
_GAP = 2  # columns between columns
_NOTE = 150  # characters of a short note on how a column was measured
_DIGITS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def terminal(
    tables: Sequence[Table], *, width: int, whole: bool = False, notes: Notes = "short"
) -> Iterator[RenderableType]:
    """What rich prints of tables on a terminal of `width` columns.

    Columns that do not fit are left out, the least deciding first, and named below all tables; `whole` shows all of
    them, where a table continues below itself. "short" notes stand once: headings have numbers that lead to them.
    "full" ones stand below their table.
    """
    numbers: dict[str, int] = {}  # of the footnotes, over all tables
    legends: dict[str, None] = {}
    hidden: dict[str, None] = {}
    for table in tables:
        size, room = (lambda i, table=table: _widest(table, i, width) + _GAP), width - 2
        pages = pages_of(table, size, room) if whole else [deciding(table, size, room)]
        shown = sorted({i for page in pages for i in page})
        if notes == "short":
            legends[table.legend] = None
            for i in shown:
                if (note := table.footnotes.get(table.columns[i].name)) is not None:
                    numbers.setdefault(note, len(numbers) + 1)
        hidden |= {table.columns[i].name: None for i in range(len(table.columns)) if i not in shown}
        yield Text(printable(table.title), "bold")
        for page in pages:
            yield _drawn(table, page, width, numbers)
        if notes == "short":
            yield from (Text(printable(note)) for note in table.brief)
        elif notes == "full":
            yield _numbered([(f"{i}.", note) for i, note in enumerate(table.notes, 1)])
        yield Text()
    entries = [("", legend) for legend in legends if legend]
    entries += [(f"{number}".translate(_DIGITS), _cut(note)) for note, number in numbers.items()]
    if hidden:
        entries.append(("", f"Not shown: {', '.join(hidden)} (--wide shows all, --columns A,B chooses)."))
    if numbers:
        entries.append(("", "Notes in full: --notes full."))
    if entries:
        yield _numbered(entries)


def _drawn(table: Table, page: Sequence[int], width: int, numbers: dict[str, int]) -> RichTable:
    drawn = RichTable(box=box.SIMPLE_HEAD, padding=(0, _GAP - 1, 0, 0), pad_edge=False)
    for i in page:
        column, limit = table.columns[i], _widest(table, i, width)
        side: Literal["right", "left"] = "right" if column.number else "left"
        number = numbers.get(table.footnotes.get(column.name, ""))
        mark = "" if number is None else str(number).translate(_DIGITS)
        drawn.add_column(Text(_head(column, mark)), justify=side, overflow="fold", max_width=limit)
    for line in table.lines:
        drawn.add_row(*(Text(cell_text(line[i], width), "bold" if line[i].best else "") for i in page))
    return drawn


def _numbered(entries: Sequence[tuple[str, str]]) -> RichTable:
    grid = RichTable.grid(padding=(0, 1))
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(overflow="fold")
    for mark, note in entries:
        grid.add_row(Text(mark), Text(printable(note)))
    return grid


def cell_text(cell: TableCell, width: int = _WIDE) -> str:
    """A cell as plain text, with its margin: to one digit of it on a narrow terminal, to two on a wide one."""
    if not cell.margin:
        return printable(cell.text)
    text, margin = cell.text, cell.margin
    if width < _WIDE and cell.half is not None and isinstance(cell.value, float):
        text, margin = measured(cell.value, cell.half, digits=1)
    return printable(f"{text}±{margin}")


def _widest(table: Table, i: int, width: int) -> int:
    """The width that the column takes: text is folded, numbers are not."""
    mark = "⁹" if table.columns[i].name in table.footnotes else ""
    head = max(len(line) for line in _head(table.columns[i], mark).split("\n"))
    body = max((len(cell_text(line[i], width)) for line in table.lines), default=1)
    return max(head, body if table.columns[i].number else min(body, _NAME[width >= _WIDE]), 1)


def _head(column: Column, mark: str = "") -> str:
    """The column's title with its arrow and the number of its footnote, broken at blanks where it is long."""
    arrow = ARROWS[column.direction]
    words = [*printable(column.title).replace("@", " @").split(), *([arrow] if arrow else [])]
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) > _HEAD:
            lines.append(word)
        else:
            lines[-1] += f" {word}"
    return "\n".join(lines) + mark


def _cut(note: str) -> str:
    return note if len(note) <= _NOTE else f"{note[:_NOTE].rsplit(' ', 1)[0]} …"
