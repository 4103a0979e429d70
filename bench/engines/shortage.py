"""What is tried for a job that has run out of memory, and what is known of the devices it ran on. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..jobs import Job
from ..worker_protocol import read_shortage
from .slots import Allocation, Slots

# After the first time alone on the device with the most memory, then there with batches in so many parts as well.
_PARTS = (1, 2, 8)
MOST_PARTS = _PARTS[-1]
_MOST_ERRORS = 2  # of a GPU, one after the other
_GB = 1e9


@dataclass(kw_only=True)
class Shortages:
    """The jobs that have run out of memory, and how often."""

    times: dict[str, int] = field(default_factory=dict)

    def alone(self, name: str) -> bool:
        """Whether the job runs by itself from now on."""
        return name in self.times

    def parts(self, name: str) -> int:
        """In how many parts its batches are computed, where they can be."""
        return _PARTS[self.times[name] - 1] if name in self.times else 1

    def again(self, name: str) -> str | None:
        """The job has run out of memory: how it is tried next, or None after everything was."""
        self.times[name] = times = self.times.get(name, 0) + 1
        if times > len(_PARTS):
            return None
        parts = self.parts(name)
        return "alone on the device with the most memory" + (f", in {parts} parts" if parts > 1 else "")

    def cause(self, job: Job, folder: Path, allocation: Allocation) -> str:
        """One line: what was asked for, of what, and what was foretold."""
        said = read_shortage(folder) or "the system ended it, for memory had run out"
        device = allocation.slot
        share = f"{device.device}: {device.memory / _GB:.3g} GB, foretold {job.memory / _GB:.3g} GB"
        return f"out of memory ({share}): {said}"


def device_failed(slots: Slots, allocation: Allocation) -> str:
    """Count an error of the GPU itself; what is said of it. After two in a row, another one takes its work."""
    slot = allocation.slot
    if allocation.others:
        return "error of one of its devices (which one stands in the job's log)"
    slot.errors += 1
    text = f"error of the device {slot.device} (it stands in the job's log)"
    alike = [other for other in slots.serving() if (other.device == "cpu") == (slot.device == "cpu")]
    if slot.errors < _MOST_ERRORS or len(alike) == 1:
        return text
    slot.in_service = False
    return f"{text}, {slot.errors} in a row: {slot.device} gets no more jobs in this run"
