"""Rows as files for other programs: wide (a row per cell) or long (a row per cell and metric)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .errors import UserError
from .formats import csv_cell
from .metric import Metric
from .output_file import output_file
from .rows import IDENTITY, Row, frame

if TYPE_CHECKING:
    import pandas


def export(
    table: Sequence[Row], path: Path, *, format: Literal["csv", "parquet"], long: bool = False
) -> tuple[int, int]:
    """Write the rows to `path`, all or nothing; returns how many rows and columns. Raises UserError where the file
    can't be written, and for parquet without pyarrow."""
    data = long_frame(table) if long else frame(table)
    with output_file(path) as temporary:
        if format == "csv":
            _inert(data).to_csv(temporary, index=False)
        else:
            try:
                _of_one_type(data).to_parquet(temporary, index=False, engine="pyarrow")
            except ImportError:
                raise UserError("--parquet needs pyarrow: pip install 'latentbench[parquet]', or use --csv") from None
    return data.shape


def long_frame(table: Sequence[Row]) -> pandas.DataFrame:
    """A row per cell and metric: the cell's identity and axes, then the metric's fields, `low` and `high` of its
    interval among them."""
    import pandas

    names = [item.name for item in fields(Metric) if item.name != "interval"]
    lines = []
    for row in table:
        cell = {name: row[name] for name in IDENTITY} | {f"axis_{name}": value for name, value in row.axes.items()}
        for shown, metric in row.metrics.items():
            low, high = metric.interval or (None, None)
            facts: dict[str, Any] = {name: getattr(metric, name) for name in names}
            lines.append({**cell, "metric": shown, **facts, "name": metric.name, "low": low, "high": high})
    axes = [name for line in lines for name in line if name.startswith("axis_")]
    head = [*IDENTITY, *dict.fromkeys(axes), "metric", *names, "low", "high"]
    return pandas.DataFrame(lines, columns=[*dict.fromkeys(name for line in lines for name in line)] or head)


def _inert(data: pandas.DataFrame) -> pandas.DataFrame:
    """The data with texts and heads of which a spreadsheet makes no formula."""
    data = data.rename(columns=csv_cell)
    return data.map(lambda value: csv_cell(value) if isinstance(value, str) else value)


def _of_one_type(data: pandas.DataFrame) -> pandas.DataFrame:
    """A column of several types (an axis of names and numbers, nested facts) as text: parquet has one type a column."""
    data = data.copy()
    for name in data.columns:
        types = {type(value) for value in data[name].dropna()}
        plain = len(types) <= 1 or types <= {int, float}
        if not plain or types & {dict, list, tuple}:
            data[name] = data[name].astype(object).map(str, na_action="ignore")
    return data
