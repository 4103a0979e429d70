"""Filters on rows, as given on the command line: `modality=image`, `tsr>=12`, `recipe~vq`, `protocols.psnr=...`."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from .errors import UserError, unknown
from .rows import Row, column_names, is_number, metric_names

T = TypeVar("T")

_FILTER = re.compile(r"\s*([A-Za-z0-9_.\-]+?)\s*(>=|<=|!=|==|=|~|>|<)\s*(.*?)\s*", re.DOTALL)

_ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


def select(table: Sequence[Row], where: str | Sequence[str] | None) -> list[Row]:
    """The rows that meet every filter of `where`.

    A filter is `<column><operator><value>`: `=`, `!=`, `<`, `<=`, `>`, `>=` (numbers compared as numbers) or `~` (the
    text contains the value, whatever its case). `protocols.<metric>` is the metric's protocol. A row without a value
    in the column meets `!=` alone. Raises UserError on a filter that is none, an unknown column, and when no row is
    left.
    """
    return _selected(table, where, lambda name, text: _row_reader(name, text, table), "cell")


def select_lines(
    header: Sequence[str], lines: Sequence[Mapping[str, str]], where: str | Sequence[str] | None
) -> list[Mapping[str, str]]:
    """The lines of a file of text, with the columns `header`, that meet every filter of `where`: see `select`. A cell
    that is a number is compared as one, an empty one is none. Raises UserError."""

    def reader(name: str, text: str) -> Callable[[Mapping[str, str]], Any]:
        if name not in header:
            raise unknown("column", name, header, where=f"filter {text!r}")
        return lambda line: _cell(line[name])

    return _selected(lines, where, reader, "line")


def _selected(
    table: Sequence[T], where: str | Sequence[str] | None, reader: Callable[[str, str], Callable[[T], Any]], what: str
) -> list[T]:
    filters = [where] if isinstance(where, str) else list(where or ())
    left = list(table)
    for text in filters:
        match = _FILTER.fullmatch(text)
        if match is None:
            raise UserError(f"filter {text!r}: write <column><operator><value>, as in modality=image or 'tsr>=12'")
        name, symbol, value = match.groups()
        read, meets = reader(name, text), _condition(symbol, value, text)
        left = [item for item in left if meets(read(item))]
    if filters and not left:
        raise UserError(f"no {what} of {len(table)} meets {' and '.join(map(repr, filters))}")
    return left


def _row_reader(name: str, text: str, table: Sequence[Row]) -> Callable[[Row], Any]:
    if name.startswith("protocols."):
        metric = name.removeprefix("protocols.")
        if metric not in metric_names(table):
            raise unknown("metric", metric, metric_names(table), where=f"filter {text!r}")
        return lambda row: row.metrics[metric].protocol if metric in row.metrics else None
    if name in (names := column_names(table)):
        return lambda row: row.get(name)
    raise unknown("column", name, names, where=f"filter {text!r}")


def _condition(symbol: str, value: str, text: str) -> Callable[[Any], bool]:
    number = _number(value)
    if symbol in _ORDERED:
        if number is None:
            raise UserError(f"filter {text!r}: {symbol} compares numbers, {value!r} is none")
        compare = _ORDERED[symbol]
        return lambda cell: is_number(cell) and compare(cell, number)
    if symbol == "~":
        return lambda cell: cell is not None and value.lower() in str(cell).lower()
    return lambda cell: _equal(cell, value, number) == (symbol != "!=")


def _cell(text: str) -> str | float | None:
    """What a cell of a file holds: a number, text, or nothing."""
    number = _number(text)
    return (text or None) if number is None or not math.isfinite(number) else number


def _equal(cell: Any, value: str, number: float | None) -> bool:
    if isinstance(cell, bool):
        return str(cell).lower() == value.lower()
    if is_number(cell) and number is not None:
        return cell == number
    return cell is not None and str(cell) == value


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
