"""What fits where, and with how many threads."""

from __future__ import annotations

import random

from latentbench.bench.engines.slots import SMALL_STEP, Allocation, Slots
from latentbench.bench.hardware import Device, Machine
from latentbench.bench.jobs import Job


def cpu(units: int, memory: int = 100) -> Slots:
    return Slots(Machine(devices=(Device(name="cpu", units=units, memory=memory),), cores=8))


def gpus(*memory: int, units: int = 2) -> Slots:
    devices = tuple(Device(name=f"cuda:{i}", units=units, memory=m) for i, m in enumerate(memory))
    return Slots(Machine(devices=devices, cores=8, host_threads=3))


def job(memory: int = 1, step_flops: float = 0.0) -> Job:
    return Job(kind="fake", config={}, versions={}, memory=memory, step_flops=step_flops)


SMALL, LARGE = job(), job(step_flops=SMALL_STEP)


def test_a_small_job_takes_a_core_and_a_large_one_all() -> None:
    slots = cpu(2)
    first, second = slots.allocate(SMALL), slots.allocate(SMALL)
    assert first is not None
    assert second is not None
    assert slots.allocate(SMALL) is None
    slots.release(first)
    assert slots.allocate(LARGE) is None
    slots.release(second)
    third = slots.allocate(LARGE)
    assert third is not None
    assert third.units == 2
    assert slots.allocate(SMALL) is None


def test_on_a_gpu_every_job_takes_a_place() -> None:
    slots = gpus(100, 100)
    allocations = [slots.allocate(LARGE) for _ in range(5)]
    assert [a and a.slot.device for a in allocations] == [
        "cuda:0",
        "cuda:1",
        "cuda:0",
        "cuda:1",
        None,
    ]


def test_memory_is_a_limit_and_a_job_beyond_it_runs_alone() -> None:
    slots = cpu(4)
    first = slots.allocate(job(memory=60))
    assert first is not None
    assert slots.allocate(job(memory=60)) is None
    assert slots.allocate(job(memory=40)) is not None
    slots = cpu(4)
    huge = slots.allocate(job(memory=10**9))
    assert huge is not None
    assert slots.allocate(SMALL) is None
    slots.release(huge)
    assert slots.allocate(SMALL) is not None


def test_a_job_goes_to_the_gpu_that_holds_it() -> None:
    slots = gpus(100, 1000)
    for memory in (500, 5000):  # a job beyond all of them has the largest for itself
        allocation = slots.allocate(job(memory=memory))
        assert allocation is not None
        assert allocation.slot.device == "cuda:1"
        assert allocation.memory == min(memory, 1000)
        slots.release(allocation)


def test_threads_don_t_depend_on_what_runs_beside() -> None:
    for units in (1, 2, 8):
        slots = cpu(units)
        for _ in range(2):
            assert [slots.threads(j, slots.slots[0]) for j in (SMALL, LARGE)] == [1, 8]
            slots.allocate(SMALL)
    assert gpus(100).threads(LARGE, gpus(100).slots[0]) == 3


def test_whatever_is_taken_is_given_back() -> None:
    slots, rng = gpus(100, 70, units=3), random.Random(0)
    taken: list[Allocation] = []
    for _ in range(500):
        allocation = slots.allocate(job(memory=rng.randrange(150)))
        if allocation is not None:
            taken.append(allocation)
        if taken and (allocation is None or rng.random() < 0.4):
            slots.release(taken.pop(rng.randrange(len(taken))))
        for slot in slots.slots:
            mine = [p for p in taken if p.slot is slot]
            assert slot.free_units == slot.units - len(mine) >= 0
            assert slot.free_memory == slot.memory - sum(p.memory for p in mine) >= 0
    for allocation in taken:
        slots.release(allocation)
    assert all((s.free_units, s.free_memory) == (s.units, s.memory) for s in slots.slots)
