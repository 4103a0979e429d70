"""Filters on rows, as given on the command line: `modality=image`, `tsr>=12`, `recipe~vq`, `protocols.psnr=...`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

from .errors import UserError, unknown
from .rows import Row, column_names, metric_names

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
    kept = list(table)
    for text in filters:
        meets = _parse(text, table)
        kept = [row for row in kept if meets(row)]
    if filters and not kept:
        raise UserError(f"no cell of {len(table)} meets {' and '.join(map(repr, filters))}")
    return kept


def _parse(text: str, table: Sequence[Row]) -> Callable[[Row], bool]:
    match = _FILTER.fullmatch(text)
    if match is None:
        raise UserError(f"filter {text!r}: write <column><operator><value>, as in modality=image or 'tsr>=12'")
    name, symbol, value = match.groups()
    if name.startswith("protocols."):
        metric = name.removeprefix("protocols.")
        if metric not in metric_names(table):
            raise unknown("metric", metric, metric_names(table), where=f"filter {text!r}")
        read: Callable[[Row], Any] = lambda row: row["protocols"].get(metric)  # noqa: E731
    elif name in (names := column_names(table)):
        read = lambda row: row.get(name)  # noqa: E731
    else:
        raise unknown("column", name, names, where=f"filter {text!r}")
    number = _number(value)
    if symbol in _ORDERED:
        if number is None:
            raise UserError(f"filter {text!r}: {symbol} compares numbers, {value!r} is none")
        compare = _ORDERED[symbol]
        return lambda row: _is_number(read(row)) and compare(read(row), number)
    if symbol == "~":
        return lambda row: read(row) is not None and value.lower() in str(read(row)).lower()
    return lambda row: _equal(read(row), value, number) == (symbol != "!=")


def _equal(found: Any, value: str, number: float | None) -> bool:
    if isinstance(found, bool):
        return str(found).lower() == value.lower()
    if _is_number(found) and number is not None:
        return found == number
    return found is not None and str(found) == value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
