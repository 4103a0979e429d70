"""Failures with their causes and logs."""

from __future__ import annotations

from pathlib import Path

from latentbench.results.report.failures import failures
from latentbench.results.rows import rows


def test_a_failed_job_is_told_once_with_its_cells_cause_and_log(folder: Path) -> None:
    table = rows([folder])
    (one,) = failures([*table, *(row for row in table if row.failed_job)])
    assert (one["kind"], one["type"], one["where"]) == ("tokenizer", "DivergedError", "training.py:1")
    assert one["cells"] == ["broken", "broken"]
    assert one["tail"].startswith("started\nTraceback")
    assert one["log"].endswith("tokenizer/broken/log/attempt-1.log")
    assert one["again"] == f"latentbench run SUITE --out {folder}"


def test_nothing_failed() -> None:
    assert failures([]) == []
