"""Where jobs fit: the devices of a machine with what is free on each. Torch-free."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from ..forecast import LARGE_STEP, SMALL_STEP
from ..hardware import Machine
from ..jobs import Job


@dataclass(kw_only=True)
class DeviceSlot:
    """A device with what is free on it: cores (CPU) or jobs at a time (GPU), and bytes of memory. `errors` are those of
    the device itself since a job last ended well on it; one that is not `in_service` gets no more jobs. A job that
    might end after the time `opens` does not begin there: another waits for it."""

    device: str
    units: int
    memory: int
    errors: int = 0
    in_service: bool = True
    opens: float = math.inf
    free_units: int = field(init=False)
    free_memory: int = field(init=False)

    def __post_init__(self) -> None:
        self.free_units, self.free_memory = self.units, self.memory


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """What one job takes of a slot, until it is given to `Slots.release`; it is predicted to end at the time `ends`.
    `others` is what it takes of further slots."""

    slot: DeviceSlot
    units: int
    memory: int
    ends: float = math.inf
    others: tuple[Allocation, ...] = ()

    def peers(self, job: Job) -> tuple[str, ...]:
        """The devices of the processes of `job` after the first; on a CPU they share it."""
        others = tuple(item.slot.device for item in self.others)
        return others or (self.slot.device,) * (job.devices - 1)

    @property
    def memory_fraction(self) -> float:
        """The part of a GPU's memory that the job may take, at the least that of one of equal jobs; a CPU has none."""
        if self.slot.device == "cpu":
            return 1.0
        return max(self.memory / self.slot.memory, self.units / self.slot.units)


class Slots:
    """The slots of `machine`."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._allocations: list[Allocation] = []
        self.uuids = {device.name: device.uuid for device in machine.devices if device.uuid}
        self.slots = [DeviceSlot(device=d.name, units=d.units, memory=d.memory) for d in machine.devices]

    def serving(self) -> list[DeviceSlot]:
        """The slots that get jobs."""
        return [slot for slot in self.slots if slot.in_service]

    def any_free(self) -> bool:
        """Whether there is a slot with room for the smallest of jobs."""
        return any(slot.free_units > 0 for slot in self.serving())

    @property
    def reserves(self) -> bool:
        """Whether a slot is reserved for a job that waits for it."""
        return any(slot.opens < math.inf for slot in self.slots)

    def begin(self) -> None:
        """Jobs are about to be allocated, those first that are to be first."""
        for slot in self.slots:
            slot.opens = math.inf

    def reserve(self, job: Job, now: float) -> None:
        """Reserve the slot that is predicted to have room first for a job that has to wait, until the next `begin`:
        nothing begins there that might not have ended by then."""
        slots = self._fitting(job)
        memory = min(job.memory, max(slot.memory for slot in slots))
        able = [slot for slot in slots if memory <= slot.memory]
        times = [self._opening(slot, self._units(job, slot), memory, now) for slot in able]
        able[times.index(min(times))].opens = min(times)

    def _opening(self, slot: DeviceSlot, units: int, memory: int, now: float) -> float:
        """When there will be room for so much, as jobs are predicted to end."""
        free_units, free_memory, time = slot.free_units, slot.free_memory, now
        for allocation in sorted(self._allocations, key=lambda a: a.ends):
            if allocation.slot is slot and (free_units < units or free_memory < memory):
                free_units, free_memory = free_units + allocation.units, free_memory + allocation.memory
                time = max(now, allocation.ends)
        return time

    def allocate(self, job: Job, *, alone: bool = False, ends: float = math.inf) -> Allocation | None:
        """Take what `job` needs of the emptiest slot with room for it, None when it has to wait; it is predicted to end
        at the time `ends`.

        A job larger than any memory gets the largest device for itself rather than never; so does one that is to be
        `alone`. While that one, or one for several devices, waits for them, nothing new begins there.
        """
        slots = self._fitting(job)
        if alone or job.devices > 1:
            return self._allocate_first(job, sorted(slots, key=lambda s: -s.memory), alone=alone, ends=ends)
        memory = min(job.memory, max(slot.memory for slot in slots))
        for slot in sorted(slots, key=lambda s: -s.free_units):
            units = self._units(job, slot)
            if ends <= slot.opens and units <= slot.free_units and memory <= slot.free_memory:
                return self._take(slot, units, memory, ends)
        return None

    def _allocate_first(self, job: Job, largest: list[DeviceSlot], *, alone: bool, ends: float) -> Allocation | None:
        """Take what `job` needs of the devices, by memory, that are soonest free, all of each where it is `alone`; or
        reserve them. A machine with too few never does it; of those with too few in service all count."""
        if len(largest) < job.devices and largest[0].device != "cpu":
            largest = sorted((slot for slot in self.slots if slot.device != "cpu"), key=lambda s: -s.memory)
            if len(largest) < job.devices:
                return None
        free = largest if alone else sorted(largest, key=lambda s: (ends > s.opens, -s.free_units))
        slots = free[:1] if free[0].device == "cpu" else free[: job.devices]
        ranks = job.devices if free[0].device == "cpu" else 1
        takes = []
        for slot in slots:
            units, memory = self._units(job, slot), min(ranks * job.memory, slot.memory)
            takes.append((slot, slot.units, slot.memory) if alone else (slot, units, memory))
        busy = any(units > slot.free_units or memory > slot.free_memory for slot, units, memory in takes)
        if busy or (not alone and any(ends > slot.opens for slot in slots)):
            for slot in slots:
                slot.opens = -math.inf
            return None
        first, *others = (self._take(*item, ends) for item in takes)
        return replace(first, others=tuple(others))

    def _take(self, slot: DeviceSlot, units: int, memory: int, ends: float) -> Allocation:
        slot.free_units -= units
        slot.free_memory -= memory
        allocation = Allocation(slot=slot, units=units, memory=memory, ends=ends)
        self._allocations.append(allocation)
        return allocation

    def release(self, allocation: Allocation) -> None:
        """Give back what a job has taken."""
        for part in (replace(allocation, others=()), *allocation.others):
            self._allocations.remove(part)
            part.slot.free_units += part.units
            part.slot.free_memory += part.memory

    def threads(self, job: Job, slot: DeviceSlot) -> int:
        """Threads of each process of `job`, whatever runs beside it: numbers may depend on the thread count, never on
        packing."""
        if slot.device != "cpu":
            return self.machine.host_threads
        large = job.step_flops >= SMALL_STEP and not self._beside_gpus
        return max(1, self.machine.cores // job.devices) if large else 1

    @property
    def _beside_gpus(self) -> bool:
        """Whether the CPU is there for what needs no GPU alone; such jobs have a core each."""
        return self.machine.devices[0].name != "cpu"

    def _fitting(self, job: Job) -> list[DeviceSlot]:
        """The slots of the sort that the job is for; of the other sort where there is none."""
        slots = self.serving()
        return [slot for slot in slots if (slot.device == "cpu") == job.on_cpu] or slots

    def _units(self, job: Job, slot: DeviceSlot) -> int:
        """What the job takes of a slot's units: all of a CPU or GPU that it can keep busy by itself, or one for each of
        its processes there."""
        if slot.device == "cpu":
            large = job.step_flops >= SMALL_STEP and not self._beside_gpus
            return slot.units if large else min(job.devices, slot.units)
        return slot.units if job.step_flops >= LARGE_STEP else 1
