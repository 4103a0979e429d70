"""Tables and rows as text: Markdown, LaTeX, CSV, JSON."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Sequence

from .columns import expendable
from .notes import ARROWS
from .rows import NESTED, Row, column_names
from .tables import Cell, Column, Table

WIDTH = 200  # columns of a terminal that a Markdown table may fill


def markdown(table: Table, *, width: int | None = WIDTH) -> str:
    """A GitHub Markdown table, padded so that it reads as text; with a `width`, the columns that matter least are left
    out until it fits, and named below."""
    kept, dropped = _fitting(table, width)
    texts = [[_markdown_cell(line[i]) for i in kept] for line in table.lines]
    heads = [_markdown(_head(table.columns[i])) for i in kept]
    sizes = [max(3, len(head), *(len(line[k]) for line in texts)) for k, head in enumerate(heads)]
    numbers = [table.columns[i].number for i in kept]

    def line(cells: Sequence[str]) -> str:
        padded = (c.rjust(n) if right else c.ljust(n) for c, n, right in zip(cells, sizes, numbers, strict=True))
        return f"| {' | '.join(padded)} |"

    rule = "|".join("-" * (n + 1) + (":" if right else "-") for n, right in zip(sizes, numbers, strict=True))
    notes = list(table.notes)
    if dropped:
        notes.append(f"Left out to fit {width} columns: {', '.join(dropped)}; name them with --columns, or take all.")
    body = [line(heads), f"|{rule}|", *(line(cells) for cells in texts)]
    below = [
        textwrap.fill(f"- {_markdown(note)}", 160, subsequent_indent="  ", break_long_words=False) for note in notes
    ]
    return "\n".join([f"## {_markdown(table.title)}", "", *body, "", *below]) + "\n"


def latex(table: Table) -> str:
    """A booktabs table (`\\usepackage{booktabs}`) with its notes below, fitted like the Markdown one."""
    kept, _ = _fitting(table, WIDTH)
    columns = [table.columns[i] for i in kept]
    spec = "".join("r" if column.number else "l" for column in columns)
    arrows = {"higher": r" $\uparrow$", "lower": r" $\downarrow$", "none": ""}
    head = " & ".join(_latex(column.title) + arrows[column.direction] for column in columns)
    body = [" & ".join(_latex_cell(line[i]) for i in kept) + r" \\" for line in table.lines]
    below = " ".join(_latex(note) for note in table.notes)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex(table.title)}}}",
        rf"\begin{{tabular}}{{{spec}}}",
        r"\toprule",
        rf"{head} \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        rf"\par\smallskip\begin{{minipage}}{{\linewidth}}\footnotesize {below}\end{{minipage}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def comma_separated(rows: Sequence[Row], columns: Sequence[str] | None = None) -> str:
    """One line per row with the flat columns, then `protocols` as JSON, so that no value stands without its protocol;
    or the `columns` named."""
    names = list(columns) if columns is not None else [*column_names(rows), "protocols"]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        values = (row.get(name) for name in names)
        nested = (json.dumps(v, sort_keys=True) if isinstance(v, dict | list) else v for v in values)
        writer.writerow([str(v).lower() if isinstance(v, bool) else v for v in nested])
    return buffer.getvalue()


def json_rows(rows: Sequence[Row], columns: Sequence[str] | None = None) -> str:
    """A JSON list of the rows, every row with every column (null where it has no value); or the `columns` named."""
    names = list(columns) if columns is not None else [*column_names(rows), *NESTED]
    return json.dumps([{name: row.get(name) for name in names} for row in rows], indent=2, ensure_ascii=False) + "\n"


def _fitting(table: Table, width: int | None) -> tuple[list[int], list[str]]:
    """The indices of the columns that fit, and the names of those left out."""
    sizes = [
        max(3, len(_head(column)), *(len(_markdown_cell(line[i])) for line in table.lines)) + 3
        for i, column in enumerate(table.columns)
    ]
    kept = list(range(len(sizes)))
    order = sorted(kept, key=lambda i: (-expendable(table.columns[i].name), -i))
    for i in order:
        name = table.columns[i].name
        if width is None or sum(sizes[k] for k in kept) + 1 <= width or not expendable(name):
            break
        if name != table.ranked_by:
            kept.remove(i)
    return kept, [column.name for i, column in enumerate(table.columns) if i not in kept]


def _head(column: Column) -> str:
    return f"{column.title} {ARROWS[column.direction]}".rstrip()


def _markdown_cell(cell: Cell) -> str:
    text = _markdown(cell.text)
    text = f"**{text}**" if cell.best else text
    return f"{text} ± {cell.margin}" if cell.margin else text


def _markdown(text: str) -> str:
    """Text that can't leave its cell nor become HTML."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "●": r"$\bullet$",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "–": "--",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def _latex_cell(cell: Cell) -> str:
    text = rf"\textbf{{{_latex(cell.text)}}}" if cell.best else _latex(cell.text)
    return rf"{text} $\pm$ {_latex(cell.margin)}" if cell.margin else text
