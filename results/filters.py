"""Filters on rows, as given on the command line: `modality=image`, `tsr>=12`, `recipe~vq`, `protocols.psnr=...`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

from .errors import UserError, unknown
from .rows import Row, column_names, is_number, metric_names

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
    filters = [where] if isinstance(where, str) else list(where or ())
    rows = list(table)
    for text in filters:
        meets = _parse(text, table)
        rows = [row for row in rows if meets(row)]
    if filters and not rows:
        raise UserError(f"no cell of {len(table)} meets {' and '.join(map(repr, filters))}")
    return rows


def _parse(text: str, table: Sequence[Row]) -> Callable[[Row], bool]:
    match = _FILTER.fullmatch(text)
    if match is None:
        raise UserError(f"filter {text!r}: write <column><operator><value>, as in modality=image or 'tsr>=12'")
    name, symbol, value = match.groups()
    if name.startswith("protocols."):
        metric = name.removeprefix("protocols.")
        if metric not in metric_names(table):
            raise unknown("metric", metric, metric_names(table), where=f"filter {text!r}")
        read: Callable[[Row], Any] = lambda row: row.metrics[metric].protocol if metric in row.metrics else None  # noqa: E731
    elif name in (names := column_names(table)):
        read = lambda row: row.get(name)  # noqa: E731
    else:
        raise unknown("column", name, names, where=f"filter {text!r}")
    number = _number(value)
    if symbol in _ORDERED:
        if number is None:
            raise UserError(f"filter {text!r}: {symbol} compares numbers, {value!r} is none")
        compare = _ORDERED[symbol]
        return lambda row: is_number(read(row)) and compare(read(row), number)
    if symbol == "~":
        return lambda row: read(row) is not None and value.lower() in str(read(row)).lower()
    return lambda row: _equal(read(row), value, number) == (symbol != "!=")


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
