"""Where jobs fit: the devices of a machine with what is free on each. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..forecast import SMALL_STEP
from ..hardware import Machine
from ..jobs import Job


@dataclass(kw_only=True)
class DeviceSlot:
    """A device with what is free on it: cores (CPU) or jobs at a time (GPU), and bytes of memory. `errors` are those of
    the device itself since a job last ended well on it; one that is not `in_service` gets no more jobs."""

    device: str
    units: int
    memory: int
    errors: int = 0
    in_service: bool = True
    free_units: int = field(init=False)
    free_memory: int = field(init=False)

    def __post_init__(self) -> None:
        self.free_units, self.free_memory = self.units, self.memory


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """What one job takes of a slot, until it is given to `Slots.release`; `others` is what it takes of further ones."""

    slot: DeviceSlot
    units: int
    memory: int
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
        self._reserved: list[DeviceSlot] = []
        self.slots = [DeviceSlot(device=d.name, units=d.units, memory=d.memory) for d in machine.devices]

    def serving(self) -> list[DeviceSlot]:
        """The slots that get jobs."""
        return [slot for slot in self.slots if slot.in_service]

    def begin(self) -> None:
        """Jobs are about to be allocated, those first that are to be first."""
        self._reserved = []

    def allocate(self, job: Job, *, alone: bool = False) -> Allocation | None:
        """Take what `job` needs of the emptiest slot with room for it, None when it has to wait.

        A job larger than any memory gets the largest device for itself rather than never; so does one that is to be
        `alone`. While that one, or one for several devices, waits for them, nothing new begins there.
        """
        largest = sorted(self.serving(), key=lambda s: -s.memory)
        if alone or job.devices > 1:
            return self._allocate_first(job, largest, alone=alone)
        memory = min(job.memory, largest[0].memory)
        for slot in sorted(self.serving(), key=lambda s: -s.free_units):
            units = self._units(job, slot)
            if slot not in self._reserved and units <= slot.free_units and memory <= slot.free_memory:
                return self._take(slot, units, memory)
        return None

    def _allocate_first(self, job: Job, largest: list[DeviceSlot], *, alone: bool) -> Allocation | None:
        """Take what `job` needs of the devices, by memory, that are soonest free, all of each where it is `alone`; or
        reserve them. A machine with too few never does it; of those with too few in service all count."""
        if len(largest) < job.devices and largest[0].device != "cpu":
            if len(self.slots) < job.devices:
                return None
            largest = sorted(self.slots, key=lambda s: -s.memory)
        free = largest if alone else sorted(largest, key=lambda s: (s in self._reserved, -s.free_units))
        slots = free[:1] if free[0].device == "cpu" else free[: job.devices]
        ranks = job.devices if free[0].device == "cpu" else 1
        takes = []
        for slot in slots:
            units, memory = self._units(job, slot), min(ranks * job.memory, slot.memory)
            takes.append((slot, slot.units, slot.memory) if alone else (slot, units, memory))
        busy = any(units > slot.free_units or memory > slot.free_memory for slot, units, memory in takes)
        if busy or (not alone and any(slot in self._reserved for slot in slots)):
            self._reserved += slots
            return None
        first, *others = (self._take(*item) for item in takes)
        return replace(first, others=tuple(others))

    def _units(self, job: Job, slot: DeviceSlot) -> int:
        if slot.device != "cpu":
            return 1
        return slot.units if job.step_flops >= SMALL_STEP else min(job.devices, slot.units)

    def _take(self, slot: DeviceSlot, units: int, memory: int) -> Allocation:
        slot.free_units -= units
        slot.free_memory -= memory
        return Allocation(slot=slot, units=units, memory=memory)

    def release(self, allocation: Allocation) -> None:
        """Give back what a job has taken."""
        for part in (allocation, *allocation.others):
            part.slot.free_units += part.units
            part.slot.free_memory += part.memory

    def threads(self, job: Job, slot: DeviceSlot) -> int:
        """Threads of each process of `job`, whatever runs beside it: numbers may depend on the thread count, never on
        packing."""
        if slot.device != "cpu":
            return self.machine.host_threads
        return max(1, self.machine.cores // job.devices) if job.step_flops >= SMALL_STEP else 1
