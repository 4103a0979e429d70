"""When a job counts as stuck, by a clock of the test's own. What becomes of it then: `test_local.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentbench.bench.engines import stall
from latentbench.bench.engines.stall import LEAST_SECONDS, PACES, Watch
from latentbench.bench.worker_protocol import ProgressFile


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A list whose one number is the time."""
    now = [100.0]
    monkeypatch.setattr(stall.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("sign", ["progress", "checkpoint.safetensors", "log"])
def test_whatever_changes_is_a_sign_of_life(tmp_path: Path, clock: list[float], sign: str) -> None:
    watch = Watch(folder=tmp_path, log=tmp_path / "log", limit=60.0, last=clock[0])
    watch.look()
    clock[0] += 50
    watch.look()
    assert watch.silent == 50
    watch.warned = True
    if sign == "progress":
        ProgressFile(tmp_path)(1, 2, "")
    else:
        (tmp_path / sign).write_text("x")
    watch.look()
    assert (watch.silent, watch.warned, watch.allowed) == (0, False, 60.0)
    clock[0] += 7
    watch.look()
    assert watch.silent == 7


def test_without_a_limit_a_job_s_own_pace_decides(tmp_path: Path, clock: list[float]) -> None:
    watch = Watch(folder=tmp_path, log=tmp_path / "log", limit=None, last=clock[0])
    (tmp_path / "log").write_text("begins")
    clock[0] += 1e6  # until the first sign: waiting for a place is no pace
    watch.look()
    assert watch.allowed == LEAST_SECONDS
    clock[0] += LEAST_SECONDS
    (tmp_path / "log").write_text("goes on")
    watch.look()
    assert watch.allowed == PACES * LEAST_SECONDS
    clock[0] += 10
    (tmp_path / "log").write_text("goes on and on")
    watch.look()
    assert watch.allowed == PACES * LEAST_SECONDS
