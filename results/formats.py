"""Tables and rows as text: Markdown, CSV, JSON."""

from __future__ import annotations

import csv
import io
import json
import re
import textwrap
from collections.abc import Sequence
from typing import Any

from .display import printable
from .layout import pages_of
from .notes import ARROWS
from .rows import NESTED, Row, column_names
from .tables import Column, Notes, Table, TableCell, shared_notes

_FORMULA = (
    "=",
    "+",
    "-",
    "@",
    "\uff1d",
    "\uff0b",
    "\uff0d",
    "\uff20",
)  # the last four in the width of East Asian letters

WIDTH = 200  # columns of a terminal that a Markdown table may fill


def markdown(tables: Sequence[Table], *, width: int = WIDTH, notes: Notes = "full") -> str:
    """GitHub Markdown, padded so that it reads as text; a table wider than `width` continues below itself."""
    parts = [_markdown_table(table, width, table.own_notes(notes)) for table in tables]
    shared = shared_notes(tables) if notes == "short" else []
    return "\n".join([*parts, *([_bullets(shared)] if shared else [])])


def _markdown_table(table: Table, width: int, notes: Sequence[str]) -> str:
    parts = [f"## {_markdown(table.title)}"]
    heads = [_markdown(_head(column)) for column in table.columns]
    texts = [_texts([line[i] for line in table.lines]) for i in range(len(table.columns))]
    for page in _pages(table, texts, width):
        padded = [_padded(heads[i], texts[i], right=table.columns[i].number) for i in page]
        ends = [":" if table.columns[i].number else "-" for i in page]
        rule = "|".join("-" * (len(column[0]) + 1) + end for column, end in zip(padded, ends, strict=True))
        head, *lines = [f"| {' | '.join(line)} |" for line in zip(*padded, strict=True)]
        parts.append("\n".join([head, f"|{rule}|", *lines]))
    return "\n\n".join([*parts, *([_bullets(notes)] if notes else [])]).rstrip("\n") + "\n"


def _bullets(notes: Sequence[str]) -> str:
    filled = (
        textwrap.fill(f"- {_markdown(note)}", 160, subsequent_indent="  ", break_long_words=False) for note in notes
    )
    return "\n".join(filled) + "\n"


def _padded(head: str, texts: Sequence[str], *, right: bool) -> list[str]:
    """A column's head and texts, all as wide as the widest."""
    size = max(3, len(head), *map(len, texts))
    return [text.rjust(size) if right else text.ljust(size) for text in (head, *texts)]


def comma_separated(rows: Sequence[Row], columns: Sequence[str] | None = None) -> str:
    """One line per row with the flat columns, then `protocols` as JSON, so that no value stands without its protocol;
    or the `columns` named."""
    names = list(columns) if columns is not None else [*column_names(rows), "protocols"]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([csv_cell(name) for name in names])
    for row in rows:
        values = (row.get(name) for name in names)
        nested = (json.dumps(v, sort_keys=True) if isinstance(v, dict | list) else v for v in values)
        writer.writerow([csv_cell(v) for v in nested])
    return buffer.getvalue()


def csv_cell(value: Any) -> Any:
    """A value of which a spreadsheet makes no formula: text that begins like one gets an apostrophe before it."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def json_rows(rows: Sequence[Row], columns: Sequence[str] | None = None) -> str:
    """A JSON list of the rows, every row with every column (null where it has no value); or the `columns` named."""
    names = list(columns) if columns is not None else [*column_names(rows), *NESTED]
    return json.dumps([{name: row.get(name) for name in names} for row in rows], indent=2, ensure_ascii=False) + "\n"


def _pages(table: Table, texts: Sequence[Sequence[str]], width: int) -> list[list[int]]:
    """The indices of the columns of each piece of the table, in order, given its columns' texts; a further piece
    repeats the key columns."""
    sizes = [
        max(3, len(_head(column)), *map(len, cells)) + 3 for column, cells in zip(table.columns, texts, strict=True)
    ]
    return pages_of(table, sizes.__getitem__, width - 1)


def _head(column: Column) -> str:
    return f"{column.title} {ARROWS[column.direction]}".rstrip()


def _texts(cells: Sequence[TableCell]) -> list[str]:
    """A column's cells as Markdown."""
    texts = [cell.text for cell in cells]
    if not _PLAIN("".join(texts)):
        texts = [*map(_markdown, texts)]
    texts = [f"**{text}**" if cell.best else text for cell, text in zip(cells, texts, strict=True)]
    return [f"{text}±{cell.margin}" if cell.margin else text for cell, text in zip(cells, texts, strict=True)]


# What would make a link, a picture, code, emphasis, a mention, a comment or an element of a name.
_MARKDOWN = re.compile(r"[\\`*_\[\]<>|~@!#&]")
_PLAIN = re.compile(r"[0-9A-Za-z.+–-]+").fullmatch  # as nearly all cells are: nothing to be escaped


def _markdown(text: str) -> str:
    """Text that can neither leave its cell nor be taken for Markdown or HTML."""
    if _PLAIN(text):
        return text
    # An underscore inside a word, as in a column's name, is none in GitHub's Markdown.
    return _MARKDOWN.sub(_escaped, printable(text))


def _escaped(match: re.Match[str]) -> str:
    character, text, at = match[0], match.string, match.start()
    if character == "<":
        return "&lt;"
    if character == "&":
        return "&amp;"
    inside = 0 < at < len(text) - 1 and text[at - 1].isalnum() and text[at + 1].isalnum()
    alone = character in "@#!~>" and not _active(character, text, at)
    return character if (character == "_" and inside) or alone else f"\\{character}"


def _active(character: str, text: str, at: int) -> bool:
    """Whether a character that is harmless in most places means something at this one."""
    after = text[at + 1 : at + 2]
    if character == "@":
        return at == 0 or text[at - 1] == " "  # a mention
    if character == "~":
        return after == "~" or text[at - 1 : at] == "~"
    if character == "#":
        return at == 0 and after in (" ", "#")  # a heading
    return after == "[" if character == "!" else at == 0  # a picture, a quotation
