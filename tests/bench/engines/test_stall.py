"""Signs of life of a worker, by a clock that the test winds."""

from pathlib import Path

import pytest

from latentbench.bench.engines import stall
from latentbench.bench.engines.stall import LEAST_SECONDS, PACES, Watch


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(stall, "time", clock)
    return clock


def watch(folder: Path, clock: Clock, limit: float | None) -> Watch:
    watch = Watch(folder=folder, log=folder / "log", limit=limit, last=clock.now)
    watch.look()
    return watch


def test_a_growing_log_is_a_sign_of_life(tmp_path: Path, clock: Clock) -> None:
    job = watch(tmp_path, clock, 60.0)
    for text in ("a", "ab", "abc"):
        clock.now += 40
        (tmp_path / "log").write_text(text)
        job.look()
        assert job.silent == 0
    clock.now += 61
    job.look()
    assert job.silent == 61 > job.allowed == 60


def test_without_a_limit_a_job_has_half_an_hour(tmp_path: Path, clock: Clock) -> None:
    job = watch(tmp_path, clock, None)
    assert job.allowed == LEAST_SECONDS


def test_a_job_of_long_pauses_is_waited_for(tmp_path: Path, clock: Clock) -> None:
    job = watch(tmp_path, clock, None)
    clock.now += 1000
    (tmp_path / "log").write_text("epoch 1")
    job.look()
    assert job.allowed == PACES * 1000


def test_a_sign_of_life_takes_the_warning_back(tmp_path: Path, clock: Clock) -> None:
    job = watch(tmp_path, clock, 1.0)
    job.warned = True
    job.look()
    assert job.warned
    (tmp_path / "log").write_text("on")
    job.look()
    assert not job.warned
