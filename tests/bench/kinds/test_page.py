"""The page on kinds of job: its example is a file that a run imports, as a reader would use it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench import cli
from latentbench.results.record import Record
from latentbench.results.store import Store

PAGE = Path(__file__).parents[3] / "docs" / "kinds.md"


@pytest.mark.slow
def test_the_example_runs(
    cache: Path,
    mini: dict[str, Any],
    write_suite: Callable[[Mapping[str, Any]], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process: that workers know what a run imports is tests/bench/test_imports.py's."""
    monkeypatch.setenv("LATENTBENCH_CACHE", str(cache))
    code = re.findall(r"```python\n(# round_trip\.py\n.*?)```", PAGE.read_text(), re.DOTALL)[0]
    assert len([line for line in code.splitlines() if line.strip()]) < 40
    (tmp_path / "round_trip.py").write_text(code)
    suite = write_suite(mini | {"tasks": ["round_trip"], "round_trip": {"samples": 8}})
    out = tmp_path / "out"
    imported = ["--import", str(tmp_path / "round_trip.py")]
    assert cli.main(["run", str(suite), *imported, "--out", str(out), "--engine", "inline"]) == 0
    records: list[Record] = [record for record in Store(out).iterate() if record.kind == "round_trip"]
    assert len(records) == 2
    for record in records:
        (metric,) = record.metrics
        assert (metric.name, metric.n) == ("psnr_round_trip", 8)
        assert metric.value is not None
        assert metric.value > 10
    capsys.readouterr()
    assert cli.main(["leaderboard", str(out), "--columns", "psnr_round_trip"]) == 0
    assert "psnr_round_trip" in capsys.readouterr().out


def test_every_kind_is_on_the_page() -> None:
    from latentbench.bench.kinds import KINDS

    text = PAGE.read_text()
    assert [name for name in KINDS.names() if f"| `{name}` |" not in text] == []
