"""What the cells of a file of figures hold: numbers, nothing, or something else."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..display import printable
from ..errors import UserError
from .table_lines import Line, Sheet, wrong

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?", re.ASCII)
_INFINITE = ("inf", "infinity")
_LARGEST = 1e300  # what is larger counts as infinite: sums of it are
# How people write that there is no number, in small letters.
_MISSING = {"", "-", "--", "---", "\N{EN DASH}", "\N{EM DASH}", "n/a", "n.a.", "n.a", "#n/a", "na", "nan"} | {
    "none",
    "null",
}
# Of text fewer words are: a family may be called "none".
_NO_TEXT = {"", "-", "--", "---", "\N{EN DASH}", "\N{EM DASH}", "n/a", "n.a."}
_LISTED = 8


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column: how many of its cells are numbers, how many infinite, and the first line in which it has neither a
    number nor a word for none."""

    name: str
    numbers: int
    infinite: int
    offender: Line | None

    @property
    def is_numeric(self) -> bool:
        """Whether it has numbers and nothing else."""
        return self.numbers > 0 and self.offender is None

    @property
    def why_not(self) -> str:
        """Where it has something else, in words."""
        if self.offender is None:
            return "no line has a number"
        return f"line {self.offender.number} has {shown(self.offender[self.name])}"


def number(text: str) -> float | None:
    """The number that a cell holds; None for one without, or an infinite one."""
    if _NUMBER.fullmatch(text) is None:
        return None
    value = float(text)
    return value if abs(value) < _LARGEST else None


def is_named(text: str) -> bool:
    """Whether a cell of text names something."""
    return text.lower() not in _NO_TEXT


def columns_of(sheet: Sheet, lines: Sequence[Line]) -> dict[str, Column]:
    """The columns of these lines, by name. Raises UserError for a column of numbers with decimal commas."""
    return {name: _column(sheet, lines, name) for name in sheet.header}


def left_out(columns: Mapping[str, Column], names: Iterable[str]) -> list[str]:
    """Notes on those of the columns that hold no numbers, or infinite ones."""
    here = [columns[name] for name in names]
    mixed = [f"{printable(c.name)} ({c.why_not})" for c in here if c.offender is not None]
    empty = [printable(c.name) for c in here if c.offender is None and not c.numbers]
    infinite = [f"{c.infinite} of {printable(c.name)}" for c in here if c.is_numeric and c.infinite]
    notes = [
        f"{what}{', '.join(names[:_LISTED])}{f' and {len(names) - _LISTED} more' * (len(names) > _LISTED)}."
        for what, names in (
            ("Left out, since not all cells are numbers: ", mixed),
            ("Left out, since no cell is a number: ", empty),
            ("Infinite values, which count as missing: ", infinite),
        )
        if names
    ]
    return notes


def shown(cell: str) -> str:
    """A cell as a message quotes it."""
    text = printable(cell)
    return repr(text if len(text) <= 40 else f"{text[:37]}...")


def _column(sheet: Sheet, lines: Sequence[Line], name: str) -> Column:
    filled = [line for line in lines if line[name].lower() not in _MISSING]
    infinite = [line for line in filled if _is_infinite(line[name])]
    numbers = [line for line in filled if number(line[name]) is not None]
    others = [line for line in filled if number(line[name]) is None and not _is_infinite(line[name])]
    commas = [line for line in others if _DECIMAL_COMMA.fullmatch(line[name])]
    points = any("." in line[name] for line in numbers)
    if commas and len(commas) == len(others) and sheet.delimiter != "," and not points:
        cell = commas[0][name]
        raise wrong(
            sheet.path,
            commas[0].number,
            name,
            f"{shown(cell)}: expected a decimal point, as in {cell.replace(',', '.')}",
        )
    return Column(name=name, numbers=len(numbers), infinite=len(infinite), offender=others[0] if others else None)


def _is_infinite(text: str) -> bool:
    if _NUMBER.fullmatch(text):
        return not math.isfinite(value := float(text)) or abs(value) >= _LARGEST
    return text.lower().lstrip("+-") in _INFINITE


def require_numbers(path: object, option: str, column: Column) -> None:
    """Raises UserError where a column that must hold numbers does not."""
    if not column.is_numeric:
        raise UserError(
            f"{path}: {option} {printable(column.name)}: expected a column of numbers, and {column.why_not}"
        )
