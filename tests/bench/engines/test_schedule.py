"""Who begins next: longest path first, by clock and by simulation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from latentbench.bench.engines.schedule import Schedule, longest_paths
from latentbench.bench.engines.slots import SMALL_STEP, Allocation
from latentbench.bench.forecast import ENOUGH, FLOPS_PER_SECOND
from latentbench.bench.hardware import Device, Machine
from latentbench.bench.jobs import Job
from latentbench.results.record import Record
from latentbench.results.store import Store


@pytest.fixture(scope="module")
def simulator(simulation: Callable[[str], ModuleType]) -> ModuleType:
    return simulation("scheduling")


def cpu(units: int, memory: int = 100) -> Schedule:
    return Schedule(machine=Machine(devices=(Device(name="cpu", units=units, memory=memory),), cores=units))


def job(name: str, seconds: float, *needs: Job, kind: str = "fake", wide: bool = False, memory: int = 1) -> Job:
    return Job(
        kind=kind,
        config={"name": name},
        versions={},
        depends={str(i): need.id for i, need in enumerate(needs)},
        flops=seconds * FLOPS_PER_SECOND,
        step_flops=SMALL_STEP if wide else 0.0,
        memory=memory,
    )


def begin(schedule: Schedule, waiting: dict[str, Job], running: dict[str, Allocation]) -> list[str]:
    names: list[str] = []
    for name, allocation in schedule.starts(waiting, running):
        del waiting[name]
        running[name] = allocation
        names.append(name)
    return names


def by_id(*jobs: Job) -> dict[str, Job]:
    return {job.id: job for job in jobs}


def test_paths_are_sums_along_the_longest_chain() -> None:
    """By hand: d after b and c, which are after a."""
    a = job("a", 1)
    b, c = job("b", 10, a), job("c", 2, a)
    d = job("d", 3, b, c)
    jobs = by_id(d, c, b, a)  # in any order
    seconds = {a.id: 1.0, b.id: 10.0, c.id: 2.0, d.id: 3.0}
    assert longest_paths(jobs, seconds) == {a.id: 14.0, b.id: 13.0, c.id: 5.0, d.id: 3.0}
    assert longest_paths(by_id(b, d), seconds) == {b.id: 13.0, d.id: 3.0}  # a is finished, c not in question


def test_a_job_for_more_devices_than_there_are_is_left_to_others_who_do_it() -> None:
    """Nothing waits for it here: with a single core, the long one would else have to end before it can begin."""
    pair = replace(job("pair", 60), devices=2)
    jobs = by_id(pair, job("long", 5))
    elsewhere = dict(cpu(1).starts(jobs, {}, elsewhere=lambda job: job.devices > 1))
    assert [jobs[name].config["name"] for name in elsewhere] == ["long"]
    assert next(name for name, _ in cpu(1).starts(jobs, {})) == pair.id, "there are no others"


def test_the_job_on_which_most_hangs_begins_first() -> None:
    long, short, root = job("long", 50), job("short", 5), job("root", 10)
    chain = job("chain", 45, root)
    assert begin(cpu(2), by_id(short, long, root, chain), {}) == [root.id, long.id]


def test_nothing_begins_before_what_it_needs() -> None:
    schedule, running = cpu(4), dict[str, Allocation]()
    root = job("root", 1)
    first, second = job("first", 9, root), job("second", 9, root)
    waiting = by_id(second, first, root)
    assert begin(schedule, waiting, running) == [root.id]
    assert begin(schedule, waiting, running) == []
    schedule.slots.release(running.pop(root.id))
    assert begin(schedule, waiting, running) == [second.id, first.id]  # equals: in the order of the plan


def test_what_finished_jobs_took_moves_the_others() -> None:
    """By FLOPs the priors are longer; ten tokenizers took a hundred times what FLOPs say."""
    prior, tokenizer = job("prior", 100, kind="prior"), job("tokenizer", 50, kind="tokenizer")
    schedule = cpu(1)
    assert begin(schedule, by_id(tokenizer, prior), {}) == [prior.id]
    schedule = cpu(1)
    for number in range(10):
        schedule.forecast.finished(job(f"{number}", 10, kind="tokenizer"), 1000.0)
        schedule.forecast.finished(job(f"{number}", 10, kind="prior"), 10.0)
    assert begin(schedule, by_id(tokenizer, prior), {}) == [tokenizer.id]


def test_records_of_earlier_runs_are_remembered(tmp_path: Path) -> None:
    store, schedule = Store(tmp_path), cpu(1)
    jobs = [job(f"{number}", 10) for number in range(3 * ENOUGH)]
    for number, item in enumerate(jobs):
        run = {"seconds": 40.0, "device": "cuda:0" if number == 0 else "cpu"}
        store.save(Record(kind=item.kind, key=item.key, status="finished", config=dict(item.config), run=run))
    schedule.remember(store, jobs)
    assert schedule.forecast.counts == {"fake": ENOUGH - 1}  # no more are read; what a GPU took says nothing of a CPU
    assert schedule.forecast.expected(job("next", 20)) == (pytest.approx(80.0), True)


def test_a_large_job_is_overtaken_by_what_ends_in_time() -> None:
    now = 0.0
    schedule = Schedule(machine=Machine(devices=(Device(name="cpu", units=2, memory=100),), cores=2), clock=lambda: now)
    running = dict[str, Allocation]()
    early = job("early", 100)
    assert begin(schedule, by_id(early), running) == [early.id]
    now = 10.0  # another 90 seconds
    wide, after = job("wide", 400, wide=True), job("after", 95)  # twice as fast on two cores
    fits, fits_too = job("fits", 80), job("fits, too", 60)
    waiting = by_id(fits_too, after, fits, wide)
    assert begin(schedule, waiting, running) == [fits.id]
    now = 90.0
    schedule.slots.release(running.pop(fits.id))
    assert begin(schedule, waiting, running) == []  # nothing ends within ten seconds
    now = 100.0
    schedule.slots.release(running.pop(early.id))
    assert begin(schedule, waiting, running) == [wide.id]


def test_memory_is_reserved_like_cores() -> None:
    schedule, running = cpu(4), dict[str, Allocation]()
    schedule.clock = lambda: 0.0
    early, large = job("early", 20, memory=60), job("large", 100, memory=80)
    assert begin(schedule, by_id(early), running) == [early.id]
    waiting = by_id(large, job("long", 50), brief := job("brief", 10))
    assert begin(schedule, waiting, running) == [brief.id]


def test_nothing_is_reserved_for_what_others_do() -> None:
    schedule = cpu(2)
    wide, small = job("wide", 400, wide=True), job("small", 50)
    schedule.clock = lambda: 0.0
    assert schedule.slots.allocate(job("early", 1), ends=1.0) is not None
    assert list(schedule.starts(by_id(wide, small), {})) == []
    assert [name for name, _ in schedule.starts(by_id(wide, small), {}, elsewhere=lambda j: j is wide)] == [small.id]


def test_makespans_are_near_the_bound(simulator: ModuleType) -> None:
    for form in simulator.FORMS:
        known = simulator.sweep(form, 0, count=150)
        told = simulator.sweep(form, 0, count=150, scatter=0.3, bias=5.0)
        assert simulator.makespan(known, learn=False) <= simulator.KNOWN * known.bound
        assert simulator.makespan(told, learn=True) <= simulator.LEARNED * told.bound
