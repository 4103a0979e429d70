"""Rows that other programs read are those of the tables."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest

from latentbench.bench import cli
from latentbench.results.export import export
from latentbench.results.metric import Metric
from latentbench.results.record import Record
from latentbench.results.rows import Row, rows
from latentbench.results.store import Store


@pytest.fixture
def table(tmp_path: Path) -> list[Row]:
    store = Store(tmp_path / "out")
    cells: list[dict[str, Any]] = []
    for place, (key, axis) in enumerate((("one", 12), ("two", "wide"))):
        facts: dict[str, Any] = {"value": 20.5 + place, "se": 0.5, "interval": (19.5, 21.5), "n": 32}
        psnr = Metric(name="psnr", direction="higher", unit="dB", protocol="p", **facts)
        metrics = (psnr, Metric(name="gfd", value=None, missing=3, direction="lower"))
        store.save(Record(kind="reconstruction", key=key, status="finished", metrics=metrics))
        names = {"cell": key, "dataset": "d", "modality": "image", "recipe": "r", "label": "", "seed": 0}
        cells.append({**names, "axes": {"size": axis}, "jobs": {"reconstruction": f"reconstruction/{key}"}})
    store.write_suite("s", cells)
    return rows([store])


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_a_file_read_back_is_the_table(table: list[Row], tmp_path: Path, format: Any) -> None:
    path = tmp_path / f"rows.{format}"
    shape = export(table, path, format=format)
    again = pandas.read_csv(path) if format == "csv" else pandas.read_parquet(path)
    assert again.shape == shape
    assert list(again["psnr"]) == [20.5, 21.5]
    assert list(again["size"]) == ["12", "wide"]  # an axis of numbers and names is text
    assert all(value is None or math.isnan(value) for value in again["gfd"])


def test_cells_are_no_formulas(table: list[Row], tmp_path: Path) -> None:
    hostile = [replace(row, columns={**row.columns, "label": "=1+1", "@x": -2.5}) for row in table]
    export(hostile, tmp_path / "rows.csv", format="csv")
    again = pandas.read_csv(tmp_path / "rows.csv")
    assert set(again["label"]) == {"'=1+1"}
    assert set(again["'@x"]) == {-2.5}
    export(hostile, tmp_path / "rows.parquet", format="parquet")
    assert set(pandas.read_parquet(tmp_path / "rows.parquet")["label"]) == {"=1+1"}


def test_what_is_missing_is_no_text(table: list[Row], tmp_path: Path) -> None:
    mixed = [
        replace(row, columns={**row.columns, "x": x})
        for row, x in zip([*table, *table], (1, "a", None, math.nan), strict=True)
    ]
    export(mixed, tmp_path / "rows.parquet", format="parquet")
    again = pandas.read_parquet(tmp_path / "rows.parquet")
    assert list(again["x"])[:2] == ["1", "a"]
    assert again["x"].isna().tolist() == [False, False, True, True]


def test_long_rows_have_what_a_number_means(table: list[Row], tmp_path: Path) -> None:
    path = tmp_path / "long.parquet"
    export(table, path, format="parquet", long=True)
    again = pandas.read_parquet(path)
    assert len(again) == 4
    first = again[again["metric"] == "psnr"].iloc[0]
    assert (first["value"], first["low"], first["high"], first["n"]) == (20.5, 19.5, 21.5, 32)
    assert (first["unit"], first["protocol"], first["direction"]) == ("dB", "p", "higher")
    assert set(again["cell"]) == {"one", "two"}


def test_the_command_says_what_it_wrote(table: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.csv"
    assert cli.main(["export", str(tmp_path / "out"), "--csv", str(path), "--where", "cell=one"]) == 0
    assert capsys.readouterr().out.startswith("1 row of ")
    assert len(pandas.read_csv(path)) == 1
    assert cli.main(["export", str(tmp_path / "out"), "--csv", str(tmp_path / "out" / "jobs")]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_a_table_without_a_result_has_its_columns(tmp_path: Path, table: list[Row]) -> None:
    for rows_of, name in (([], "none"), (table, "some")):
        export(rows_of, tmp_path / name, format="csv", long=True)
    none, some = (pandas.read_csv(tmp_path / name).columns for name in ("none", "some"))
    assert list(none) == [column for column in some if not column.startswith("axis_")]
    assert export([], tmp_path / "wide", format="csv") == (0, len(pandas.read_csv(tmp_path / "wide").columns))
