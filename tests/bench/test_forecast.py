"""How long a run will still take."""

from __future__ import annotations

import pytest

from latentbench.bench.forecast import FLOPS_PER_SECOND, Forecast, clock
from latentbench.bench.jobs import Job


def job(kind: str = "tokenizer", flops: float = 1e12) -> Job:
    return Job(kind=kind, config={}, versions={}, flops=flops)


def test_hours_and_minutes() -> None:
    times = [0, 29, 30, 60, 89, 91, 3599, 3600, 7500, 360000]
    assert [clock(t) for t in times] == [
        *("<0:01", "<0:01", "0:00", "0:01", "0:01", "0:02", "1:00", "1:00", "2:05", "100:00"),
    ]


def test_nothing_is_foretold_before_half_of_it_is_known() -> None:
    forecast = Forecast()
    assert forecast.left([job()], [], parallel=1) is None
    forecast.finished(job(kind="data", flops=1e9), 3.0)
    assert forecast.left([job(), job()], [], parallel=1) is None  # one second of data tells nothing of training
    assert forecast.left([], [], parallel=1) == 0.0


def test_jobs_of_a_kind_take_what_their_flops_take() -> None:
    forecast = Forecast()
    forecast.finished(job(flops=1e12), 10.0)
    forecast.finished(job(flops=3e12), 30.0)
    assert forecast.left([job(flops=2e12), job(flops=4e12)], [], parallel=1) == pytest.approx(60.0)
    assert forecast.left([job(flops=2e12), job(flops=4e12)], [], parallel=2) == pytest.approx(40.0)  # the longer one
    # Another kind at the same speed.
    assert forecast.expected(job(kind="prior", flops=5e12)) == (pytest.approx(50.0), False)


def test_small_jobs_take_what_their_like_took() -> None:
    """A job that starts in 2 s and computes for 0.01 s: a hundred times the FLOPs are not a hundred times the time."""
    forecast = Forecast()
    for flops in (1e6, 1e8):
        forecast.finished(job(kind="modelability", flops=flops), 2.0)
    assert forecast.left([job(kind="modelability", flops=1e9)] * 10, [], parallel=1) == pytest.approx(20.0)
    assert forecast.expected(job(flops=1e12))[0] == pytest.approx(1e12 / FLOPS_PER_SECOND)


def test_running_jobs_go_on_at_their_own_pace() -> None:
    forecast = Forecast()
    assert forecast.left([], [(job(), 30.0, 0.25)], parallel=4) == pytest.approx(90.0)
    forecast.finished(job(), 100.0)
    assert forecast.left([], [(job(), 30.0, 0.0)], parallel=1) == pytest.approx(70.0)
    assert forecast.left([], [(job(), 300.0, 0.0)], parallel=1) == 0.0
