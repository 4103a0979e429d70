"""What a plan will take of a machine: memory per cell, hours. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..results.display import counted
from ..results.store import Store
from .footprints import Footprints, measured_ratios, sized, subject
from .forecast import Forecast, Span, clock
from .gates import at_most
from .hardware import Machine
from .jobs import Job
from .planned_cell import PlannedCell


@dataclass(frozen=True, kw_only=True)
class PlanCost:
    """`jobs` with what they take, of which `measured` were measured and not guessed; the `span` of those that are not
    done yet on `machine`, and the number of finished jobs from which speeds and memory were learned. `left` are all
    that are not done, whatever gates hold back; `forecast` is what they are priced by. `guessed` are the jobs of whose
    steps nothing was measured, though it can be; `unmeasured` those of which nothing was at all."""

    jobs: Mapping[str, Job]
    machine: Machine
    span: Span
    measured: int
    learned: int
    done: int
    left: Mapping[str, Job] = field(default_factory=dict)
    forecast: Forecast = field(default_factory=Forecast)
    guessed: frozenset[str] = frozenset()
    unmeasured: frozenset[str] = frozenset()

    def span_of(self, names: Iterable[str]) -> Span:
        """What those of the jobs take that are not done yet."""
        chosen = {*names}
        return self.forecast.total({name: job for name, job in self.left.items() if name in chosen}, self.machine)

    def memory(self, cell: PlannedCell) -> int:
        """Bytes of a cell's largest job."""
        return self.jobs[self._largest(cell)].memory

    def is_guess(self, cell: PlannedCell) -> tuple[bool, bool]:
        """Whether the bytes of a cell's largest job, and any of its FLOPs, are a guess."""
        return self._largest(cell) in self.unmeasured, any(name in self.guessed for name in cell.jobs.values())

    def _largest(self, cell: PlannedCell) -> str:
        return max(cell.jobs.values(), key=lambda name: self.jobs[name].memory)

    def to_json(self) -> dict[str, Any]:
        """For programs; times in seconds, memory in bytes."""
        device = self.machine.devices[0]
        return {
            "devices": [item.name for item in self.machine.main_devices],
            "device": device.title,
            "seconds": self.span.seconds,
            "seconds_interval": [self.span.low, self.span.high],
            "jobs_done": self.done,
            "jobs_learned_from": self.learned,
            "footprints_measured": self.measured,
        }

    def lines(self) -> list[str]:
        """For people."""
        device = self.machine.devices[0]
        if device.name == "cpu":
            place = f"{self.machine.cores} CPU core{'s' * (self.machine.cores > 1)}"
        else:
            place = f"{len(self.machine.main_devices)} x {device.title}"
        low, high = clock(self.span.low), clock(self.span.high)
        source = f"from {counted(self.learned, 'finished job')}" if self.learned else "a guess until jobs have finished"
        left = f", {self.done} of {len(self.jobs)} jobs done" if self.done else ""
        lines = []
        if self.guessed:
            lines.append("~GB, ~TFLOP: guessed from the configuration; --measure measures the steps, and remembers it")
        lines.append(f"on {place}: {clock(self.span.seconds)} hours ({low} to {high}; {source}){left}")
        room = max(item.memory for item in self.machine.main_devices)
        large = [job for job in self.jobs.values() if job.memory > room]
        if large:
            worst = max(large, key=lambda job: job.memory)
            lines.append(
                f"memory: {len(large)} job{'s' * (len(large) > 1)} may not fit the {_gb(room)} of a device, "
                f"first {worst.title} ({_gb(worst.memory)}); training.micro_batch, training.checkpointing or "
                "a smaller width helps"
            )
        places = self.machine.places
        wide = [job for job in self.jobs.values() if job.devices > places]
        if wide:
            most = max(wide, key=lambda job: job.devices)
            lines.append(f"devices: {most.title} needs {most.devices} (training.devices), and there are {places}")
        return lines


def plan_cost(
    jobs: Mapping[str, Job],
    machine: Machine,
    store: Store,
    table: Footprints,
) -> PlanCost:
    """The cost of `jobs` on `machine`, from what the run's folder knows; of what gates hold back, the most."""
    device = machine.devices[0].name.partition(":")[0]
    records = {name: store.load(job.kind, job.key) for name, job in jobs.items()} if store.root.is_dir() else {}
    finished = {name: jobs[name] for name, record in records.items() if record is not None}
    ratios = measured_ratios(store, jobs, finished.values(), table, device=device)
    known = sized(jobs, jobs, table, device=device, ratios=ratios)
    forecast = Forecast.on(device)
    learned = sum(forecast.recorded(known[name], records[name], device=device) for name in finished)
    left = {name: job for name, job in at_most(known).items() if name not in finished}
    subjects = {name: subject(job, jobs, device) for name, job in jobs.items()}
    return PlanCost(
        jobs=known,
        machine=machine,
        span=forecast.total(left, machine),
        measured=sum(table.get(item) is not None for item in subjects.values()),
        unmeasured=frozenset(name for name, item in subjects.items() if table.get(item) is None),
        guessed=frozenset(name for name, item in subjects.items() if item is not None and table.get(item) is None),
        learned=learned,
        done=len(finished),
        left={name: job for name, job in known.items() if name not in finished},
        forecast=forecast,
    )


def measure_all(jobs: Mapping[str, Job], device: str, table: Footprints, imports: Iterable[Any]) -> list[str]:
    """Measure the steps of all `jobs`; returns a line for each that can't be."""
    items = {item.key: (job, item) for job in jobs.values() if (item := subject(job, jobs, device))}
    for _ in table.measure([item for _, item in items.values()], tuple(imports)):
        pass
    return [f"{items[key][0].title}: not measured ({reason})" for key, reason in table.reasons.items()]


def _gb(size: float) -> str:
    return f"{size / 1e9:.3g} GB"
