"""Where jobs fit: the devices of a machine with what is free on each. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..forecast import SMALL_STEP
from ..hardware import Machine
from ..jobs import Job


@dataclass(kw_only=True)
class DeviceSlot:
    """A device with what is free on it: cores (CPU) or jobs at a time (GPU), and bytes of memory."""

    device: str
    units: int
    memory: int
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


class Slots:
    """The slots of `machine`."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.slots = [DeviceSlot(device=d.name, units=d.units, memory=d.memory) for d in machine.devices]

    def allocate(self, job: Job) -> Allocation | None:
        """Take what `job` needs of the emptiest slot with room for it, None when it has to wait.

        A job larger than any memory gets the largest device for itself rather than never.
        """
        memory = min(job.memory, max(slot.memory for slot in self.slots))
        for slot in sorted(self.slots, key=lambda s: -s.free_units):
            units = slot.units if slot.device == "cpu" and job.step_flops >= SMALL_STEP else 1
            if units <= slot.free_units and memory <= slot.free_memory:
                slot.free_units -= units
                slot.free_memory -= memory
                return Allocation(slot=slot, units=units, memory=memory)
        return None

    def release(self, allocation: Allocation) -> None:
        """Give back what a job has taken."""
        allocation.slot.free_units += allocation.units
        allocation.slot.free_memory += allocation.memory

    def threads(self, job: Job, slot: DeviceSlot) -> int:
        """Threads of `job`, whatever runs beside it: numbers may depend on the thread count, never on packing."""
        if slot.device != "cpu":
            return self.machine.host_threads
        return self.machine.cores if job.step_flops >= SMALL_STEP else 1
