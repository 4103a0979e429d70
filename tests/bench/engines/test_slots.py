"""What fits where, and with how many threads."""

from __future__ import annotations

import random

from latentbench.bench.engines.shortage import device_failed
from latentbench.bench.engines.slots import LARGE_STEP, SMALL_STEP, Allocation, Slots
from latentbench.bench.hardware import Device, Machine
from latentbench.bench.jobs import Job


def cpu(units: int, memory: int = 100) -> Slots:
    return Slots(Machine(devices=(Device(name="cpu", units=units, memory=memory),), cores=8))


def gpus(*memory: int, units: int = 2) -> Slots:
    devices = tuple(Device(name=f"cuda:{i}", units=units, memory=m) for i, m in enumerate(memory))
    return Slots(Machine(devices=devices, cores=8, host_threads=3))


def beside(cores: int) -> Slots:
    """A GPU and the CPU beside it."""
    devices = (Device(name="cuda:0", units=2, memory=100), Device(name="cpu", units=cores, memory=100))
    return Slots(Machine(devices=devices, cores=8, host_threads=3))


def job(memory: int = 1, step_flops: float = 0.0, devices: int = 1, *, on_cpu: bool = False) -> Job:
    costs = {"memory": memory, "step_flops": step_flops, "devices": devices}
    return Job(kind="fake", config={}, versions={}, on_cpu=on_cpu, **costs)


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


def test_beside_a_gpu_the_cpu_takes_what_needs_none_and_nothing_else() -> None:
    slots = beside(3)
    on_gpu = [slots.allocate(SMALL) for _ in range(3)]
    assert [a and a.slot.device for a in on_gpu] == ["cuda:0", "cuda:0", None]
    on_cpu = [slots.allocate(job(step_flops=SMALL_STEP, on_cpu=True)) for _ in range(4)]
    assert [a and (a.slot.device, a.units) for a in on_cpu] == [("cpu", 1)] * 3 + [None]
    assert slots.threads(job(step_flops=SMALL_STEP, on_cpu=True), slots.slots[1]) == 1
    assert gpus(100).allocate(job(on_cpu=True)) is not None  # no CPU to be had: where there is room


def test_a_job_of_large_steps_has_a_gpu_for_itself() -> None:
    slots = gpus(100, units=4)
    large = slots.allocate(job(step_flops=LARGE_STEP))
    assert large is not None
    assert (large.units, large.memory_fraction) == (4, 1.0)
    assert slots.allocate(SMALL) is None
    slots.release(large)
    assert [slots.allocate(job(step_flops=0.9 * LARGE_STEP)) is not None for _ in range(5)] == [True] * 4 + [False]


def test_the_last_gpu_stays_in_service_whatever_the_cpu_beside_it() -> None:
    slots = beside(3)
    for _ in range(5):
        allocation = slots.allocate(SMALL)
        assert allocation is not None
        slots.release(allocation)
        assert "gets no more jobs" not in device_failed(slots, allocation)


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


def test_one_that_is_to_be_alone_has_the_largest_device_and_does_not_starve() -> None:
    slots = gpus(10, 20)
    allocations = [slots.allocate(SMALL) for _ in range(4)]
    assert {a.slot.device for a in allocations if a is not None} == {"cuda:0", "cuda:1"}
    on_large = [a for a in allocations if a is not None and a.slot.device == "cuda:1"]
    for allocation in on_large:
        slots.begin()
        assert slots.allocate(SMALL, alone=True) is None
        slots.release(allocation)
        if allocation is not on_large[-1]:
            slots.begin()
            assert slots.allocate(SMALL, alone=True) is None
            assert slots.allocate(SMALL) is None, "what becomes free there is not for others"
    slots.begin()
    alone = slots.allocate(SMALL, alone=True)
    assert alone is not None
    assert (alone.slot.device, alone.units, alone.memory, alone.memory_fraction) == ("cuda:1", 2, 20, 1.0)
    assert slots.allocate(SMALL) is None
    slots.release(alone)
    assert slots.allocate(SMALL) is not None


def test_each_process_is_held_to_its_share_of_a_gpu() -> None:
    small, large = gpus(100, units=4).allocate(job(memory=5)), gpus(100, units=4).allocate(job(memory=60))
    assert small is not None
    assert large is not None
    assert (small.memory_fraction, large.memory_fraction) == (0.25, 0.6)
    on_cpu = cpu(4).allocate(SMALL)
    assert on_cpu is not None
    assert on_cpu.memory_fraction == 1.0


def test_a_device_out_of_service_gets_nothing() -> None:
    slots = gpus(10, 20)
    slots.slots[1].in_service = False
    allocations = [slots.allocate(job(memory=15)), slots.allocate(SMALL, alone=True)]
    assert [a.slot.device if a else None for a in allocations] == ["cuda:0", None]


def test_a_job_of_several_devices_takes_a_place_on_each() -> None:
    slots, shared = gpus(100, 90, 80), job(memory=60, devices=2)
    allocation = slots.allocate(shared)
    assert allocation is not None
    assert (allocation.slot.device, allocation.peers(shared)) == ("cuda:0", ("cuda:1",))
    assert [slot.free_memory for slot in slots.slots] == [40, 30, 80]
    assert [slot.free_units for slot in slots.slots] == [1, 1, 2]
    slots.release(allocation)
    assert all((s.free_units, s.free_memory) == (s.units, s.memory) for s in slots.slots)


def test_a_job_of_several_devices_does_not_starve() -> None:
    slots, shared = gpus(10, 10, 10, units=1), job(devices=2)
    running = [slots.allocate(SMALL) for _ in range(3)]
    assert slots.allocate(shared) is None
    for allocation in running[:2]:
        assert allocation is not None
        slots.begin()
        assert slots.allocate(shared) is None
        slots.release(allocation)
        slots.begin()
        if allocation is running[0]:
            assert slots.allocate(shared) is None
            assert slots.allocate(SMALL) is None, "what becomes free is not for others"
    assert slots.allocate(shared) is not None


def test_a_job_of_several_devices_has_so_many_times_the_threads_and_memory_of_a_cpu() -> None:
    slots = cpu(3)
    allocation = slots.allocate(job(memory=20, devices=2))
    assert allocation is not None
    assert (allocation.units, allocation.memory, allocation.peers(job(devices=2))) == (2, 40, ("cpu",))
    assert slots.allocate(job(devices=2)) is None
    assert slots.threads(job(devices=2), slots.slots[0]) == 1
    assert slots.threads(job(step_flops=SMALL_STEP, devices=2), slots.slots[0]) == 4
    assert cpu(1).allocate(job(devices=2)) is not None, "on fewer units than that it has them all"


def test_devices_that_are_not_there_or_not_in_service() -> None:
    slots = gpus(10, 10)
    assert slots.allocate(job(devices=3)) is None
    slots.slots[1].in_service = False
    allocation = slots.allocate(job(devices=2))
    assert allocation is not None, "rather than never"
    slots.release(allocation)
    alone = gpus(10, 20, 30).allocate(job(devices=2), alone=True)
    assert alone is not None
    assert [(item.slot.device, item.memory) for item in (alone, *alone.others)] == [("cuda:2", 30), ("cuda:1", 20)]
