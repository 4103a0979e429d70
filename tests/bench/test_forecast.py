"""How long a run will still take."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from latentbench.bench.forecast import (
    ENOUGH,
    FLOPS_PER_SECOND,
    GPU_FLOPS_PER_SECOND,
    GPU_STEP_SECONDS,
    SMALL_STEP,
    AtWork,
    Forecast,
    clock,
)
from latentbench.bench.hardware import Device, Machine
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
    assert forecast.left([], [AtWork(job(), 30.0, 0.25)], parallel=4) == pytest.approx(90.0)
    forecast.finished(job(), 100.0)
    assert forecast.left([], [AtWork(job(), 30.0)], parallel=1) == pytest.approx(70.0)
    assert forecast.left([], [AtWork(job(), 300.0)], parallel=1) == 0.0


def test_what_earlier_attempts_have_done_says_nothing_of_this_ones_pace() -> None:
    forecast = Forecast()
    # a tenth in 20 s, after half of it had been done before: 0.4 in 80 s, and not 0.4 / 0.6 of 20 s
    assert forecast.left([], [AtWork(job(), 20.0, 0.6, 0.5)], parallel=1) == pytest.approx(80.0)
    assert forecast.left([], [AtWork(job(), 20.0, 0.52, 0.5)], parallel=1) is None  # too little of its own
    forecast.finished(job(), 100.0)
    assert forecast.left([], [AtWork(job(), 20.0, 0.52, 0.5)], parallel=1) == pytest.approx(100 * 0.5 - 20)


def machine(*names: str) -> Machine:
    return Machine(devices=tuple(Device(name=name, units=4, memory=10**10) for name in names), cores=4)


def test_a_plan_takes_its_share_of_the_machine_and_no_less_than_its_longest_path() -> None:
    """Seconds by hand: 100 s of a core each; the chain takes 200 s whatever there is beside it."""
    forecast = Forecast()
    single = {f"j{i}": job(flops=4e12) for i in range(8)}
    assert forecast.total(single, machine("cpu")).seconds == pytest.approx(8 * 100 / 4)
    first = job(flops=4e12)
    chain = {first.id: first, "next": Job(kind="prior", config={}, versions={}, depends={"t": first.id}, flops=4e12)}
    assert forecast.total(chain, machine("cpu")).seconds == pytest.approx(200)
    wide = {"w": Job(kind="tokenizer", config={}, versions={}, flops=4e12, step_flops=SMALL_STEP)}
    assert forecast.total(wide, machine("cpu")).seconds == pytest.approx(25)  # on all four cores
    shared = {"s": Job(kind="tokenizer", config={}, versions={}, flops=4e12, devices=2)}
    assert forecast.total(shared, machine("cpu")).seconds == pytest.approx(50)
    assert Forecast.on("cpu") == Forecast()
    on_gpus = Forecast.on("cuda")
    assert on_gpus.speed == GPU_FLOPS_PER_SECOND
    gpus = machine("cuda:0", "cuda:1")
    assert on_gpus.total({f"j{i}": job(flops=4e15) for i in range(6)}, gpus).seconds == pytest.approx(600)
    assert on_gpus.total(
        {f"j{i}": job(flops=4e15) for i in range(6)}, machine("cuda:0", "cpu")
    ).seconds == pytest.approx(1200)  # the CPU beside it takes no part
    assert forecast.total({}, machine("cpu")).seconds == 0
    # 10,000 steps that are nothing to a GPU take what it takes to tell it of them; shared between two, as many.
    tiny = Job(kind="tokenizer", config={}, versions={}, flops=1e10, step_flops=1e6)
    assert on_gpus.duration(tiny, gpus) == pytest.approx(10_000 * GPU_STEP_SECONDS)
    assert on_gpus.duration(replace(tiny, devices=2, step_flops=5e5), gpus) == pytest.approx(10_000 * GPU_STEP_SECONDS)
    assert on_gpus.duration(replace(tiny, on_cpu=True), gpus) == forecast.duration(tiny, machine("cpu")) == 1
    on_gpus.finished(tiny, 30.0)
    assert on_gpus.duration(tiny, gpus) == 30, "what was measured is known better"


def test_a_forecast_is_as_sure_as_the_jobs_it_has_seen_agree() -> None:
    forecast = Forecast()
    for _ in range(ENOUGH - 1):
        forecast.finished(job(), 100.0)
    assert forecast.span(60.0).low == pytest.approx(20.0)  # a guess: three times less or more
    assert forecast.span(60.0).high == pytest.approx(180.0)
    forecast.finished(job(), 100.0)
    assert forecast.factor == pytest.approx(1.1)
    scattered = Forecast()
    for number in range(ENOUGH):
        scattered.finished(job(), 80.0 if number % 2 else 125.0)
    assert 1.4 < scattered.factor < 1.7  # exp(2 x 0.22)


def test_nine_of_ten_jobs_lie_in_the_interval() -> None:
    """Simulated: log-normal times, deviation 0.4, learned from 20 jobs."""
    draws = random.Random(1)
    inside = 0
    for _ in range(400):
        forecast = Forecast()
        for _ in range(20):
            forecast.finished(job(), 100 * math.exp(draws.gauss(0, 0.4)))
        span = forecast.span(forecast.expected(job())[0])
        inside += span.low <= 100 * math.exp(draws.gauss(0, 0.4)) <= span.high
    assert 0.85 < inside / 400 < 0.95
