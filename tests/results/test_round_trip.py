"""Rows written as CSV, JSON and Parquet come back into pandas with their types and values."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pandas
import pytest

from latentbench.results.leaderboard import leaderboard, render
from latentbench.results.rows import frame, rows


@pytest.mark.parametrize("format", ["csv", "json"])
def test_numbers_come_back_as_numbers(folder: Path, format: str) -> None:
    text = io.StringIO(leaderboard([folder], format=format))
    back = pandas.read_csv(text) if format == "csv" else pandas.read_json(text)
    table = rows([folder])
    assert len(back) == len(table)
    for name in ("psnr", "psnr_se", "tsr", "seconds", "rfd_encoder"):
        assert back[name].dtype.kind in "fi", name
        expected = [row.get(name) for row in table]
        assert back[name].isna().tolist() == [value is None for value in expected]
        assert back[name].dropna().tolist() == pytest.approx(
            [value for value in expected if value is not None], abs=1e-9
        )
    assert back["seed"].dtype.kind == "i"
    assert back["discrete"].dtype.kind == "b"
    assert back["recipe"].tolist() == [row["recipe"] for row in table]


def test_negative_numbers_are_no_formulas(folder: Path) -> None:
    table = [replace(row, columns={**row.columns, "shift": -0.5, "note": "-0.5"}) for row in rows([folder])]
    back = pandas.read_csv(io.StringIO(render(table, format="csv")))
    assert set(back["shift"]) == {-0.5}
    assert set(back["note"]) == {"'-0.5"}


def test_a_frame_survives_parquet(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    table = frame(rows([folder]))
    flat = table[[name for name in table.columns if table[name].dtype.kind in "fib"]]
    flat.to_parquet(tmp_path / "t.parquet")
    pandas.testing.assert_frame_equal(pandas.read_parquet(tmp_path / "t.parquet"), flat)
    assert "psnr" in flat
