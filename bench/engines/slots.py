"""Where jobs fit: the devices of a machine with what is free on each. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass, field

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
    """What one job takes of a slot, until it is given to `Slots.release`."""

    slot: DeviceSlot
    units: int
    memory: int

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
        self._reserved: DeviceSlot | None = None
        self.uuids = {device.name: device.uuid for device in machine.devices if device.uuid}
        self.slots = [DeviceSlot(device=d.name, units=d.units, memory=d.memory) for d in machine.devices]

    def serving(self) -> list[DeviceSlot]:
        """The slots that get jobs."""
        return [slot for slot in self.slots if slot.in_service]

    def begin(self) -> None:
        """Jobs are about to be allocated, those first that are to be first."""
        self._reserved = None

    def allocate(self, job: Job, *, alone: bool = False) -> Allocation | None:
        """Take what `job` needs of the emptiest slot with room for it, None when it has to wait.

        A job larger than any memory gets the largest device for itself rather than never; so does one that is to be
        `alone`, and while it waits for that device nothing new begins there.
        """
        slots = self.serving()
        largest = max(slots, key=lambda s: s.memory)
        if alone:
            if largest.free_units < largest.units or largest.free_memory < largest.memory:
                self._reserved = largest
                return None
            return self._take(largest, largest.units, largest.memory)
        memory = min(job.memory, largest.memory)
        for slot in sorted(slots, key=lambda s: -s.free_units):
            units = slot.units if slot.device == "cpu" and job.step_flops >= SMALL_STEP else 1
            if slot is not self._reserved and units <= slot.free_units and memory <= slot.free_memory:
                return self._take(slot, units, memory)
        return None

    def _take(self, slot: DeviceSlot, units: int, memory: int) -> Allocation:
        slot.free_units -= units
        slot.free_memory -= memory
        return Allocation(slot=slot, units=units, memory=memory)

    def release(self, allocation: Allocation) -> None:
        """Give back what a job has taken."""
        allocation.slot.free_units += allocation.units
        allocation.slot.free_memory += allocation.memory

    def threads(self, job: Job, slot: DeviceSlot) -> int:
        """Threads of `job`, whatever runs beside it: numbers may depend on the thread count, never on packing."""
        if slot.device != "cpu":
            return self.machine.host_threads
        return self.machine.cores if job.step_flops >= SMALL_STEP else 1
