"""How long a run will take, or still take, from what its jobs have taken so far. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import mean
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from ..results.record import Record
    from .hardware import Machine
    from .jobs import Job

# A CPU core's sustained speed in training, for predictions before anything has run, and a GPU's.
FLOPS_PER_SECOND = 4e10
GPU_FLOPS_PER_SECOND = 500 * FLOPS_PER_SECOND

# A GPU is told of a step's work in no less, however little that is (an estimate).
GPU_STEP_SECONDS = 5e-3

# Below this many FLOPs a step is too short to share between cores: a process per core is faster (measured).
SMALL_STEP = 8e9

# From so many on a step keeps a GPU busy by itself: others beside it would only take its memory (an estimate).
LARGE_STEP = 3e11

# Jobs with fewer FLOPs take about as long as their start: they say nothing about a device's speed.
_LEAST_FLOPS = 1e10

ENOUGH = 10  # finished jobs, from which on their own scatter says how sure a forecast is
_GUESS = 3.0  # before: real devices are this many times slower or faster than the speeds above
_SURE = 1.1  # no forecast is surer than ten per cent
_LEAST_GAIN = 0.05  # of a job, from which on its own pace says how long the rest takes
_QUANTILE = 2.0  # Student's of a 90 % interval at ten jobs, the error of their own mean included


@dataclass(frozen=True, kw_only=True)
class Span:
    """Seconds, with the interval in which they should lie 9 times of 10."""

    seconds: float
    low: float
    high: float


class Costed(Protocol):
    """A job, or as much of one as a forecast asks for."""

    @property
    def kind(self) -> str:
        """The kind of job."""

    @property
    def flops(self) -> float:
        """The FLOPs that it is expected to take."""


class AtWork(NamedTuple):
    """A job at work: the `share` of it that is done, and the seconds in which that has come to be since `resumed` was:
    the share that earlier attempts had done."""

    job: Costed
    elapsed: float
    share: float = 0.0
    resumed: float = 0.0


@dataclass(kw_only=True)
class Forecast:
    """Seconds and FLOPs of the finished jobs, by kind; `speed` is the FLOPs per second of what nothing is known of, and
    `step_seconds` the least that one of its steps takes."""

    speed: float = FLOPS_PER_SECOND
    step_seconds: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    flops: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    jobs: list[tuple[Costed, float]] = field(default_factory=list)

    @classmethod
    def on(cls, device: str) -> Forecast:
        """One for a sort of device, "cpu" or "cuda", of which nothing is known yet."""
        return cls() if device == "cpu" else cls(speed=GPU_FLOPS_PER_SECOND, step_seconds=GPU_STEP_SECONDS)

    def finished(self, job: Costed, seconds: float) -> None:
        """Learn what a job has taken."""
        for table, value in ((self.seconds, seconds), (self.flops, job.flops)):
            table[job.kind] = table.get(job.kind, 0.0) + value
        self.counts[job.kind] = self.counts.get(job.kind, 0) + 1
        self.jobs.append((job, seconds))

    def expected(self, job: Costed) -> tuple[float, bool]:
        """The seconds that a job will take, and whether one of its kind has been measured."""
        if job.kind in self.counts:
            mean, flops = self.seconds[job.kind] / self.counts[job.kind], self.flops[job.kind] / self.counts[job.kind]
            # Small jobs of a kind take about equally long, whatever their FLOPs.
            return mean * (job.flops / flops if min(flops, job.flops) >= _LEAST_FLOPS else 1.0), True
        large = [kind for kind in list(self.flops) if self.flops[kind] >= _LEAST_FLOPS * self.counts[kind]]
        seconds = sum(self.seconds[kind] for kind in large)
        speed = sum(self.flops[kind] for kind in large) / seconds if seconds > 0 else self.speed
        return max(job.flops / speed, 1.0), False

    def recorded(self, job: Job, record: Record | None, *, device: str) -> bool:
        """Learn what the job has taken from its record, if that was on the sort of device that it runs on where
        `device` ("cpu", "cuda") is the main one."""
        device = "cpu" if job.on_cpu else device
        if record is None or record.status != "finished":
            return False
        seconds = record.run.get("seconds")
        if str(record.run.get("device", "cpu")).partition(":")[0] != device or not isinstance(seconds, int | float):
            return False
        self.finished(job, float(seconds))
        return True

    def duration(self, job: Job, machine: Machine) -> float:
        """The seconds from the job's start to its end on `machine`."""
        seconds, measured = self.expected(job)
        if measured:
            return seconds
        steps = job.flops / (job.devices * job.step_flops) if job.step_flops and not job.on_cpu else 0.0
        return max(seconds / places_of(job, machine), steps * self.step_seconds)

    def left(self, waiting: Iterable[Costed], running: Iterable[AtWork], *, parallel: int) -> float | None:
        """Seconds until all are done, `parallel` at a time; None while too little is known."""
        total = known = longest = 0.0
        is_overdue = False  # something of which nothing is known has taken longer than its guess
        for job in waiting:
            seconds, measured = self.expected(job)
            total, known = total + seconds, known + seconds * measured
            longest = max(longest, seconds)
        for job, elapsed, share, resumed in running:
            seconds, measured = self.expected(job)
            gained = share - resumed
            is_paced = gained >= _LEAST_GAIN
            rest = elapsed * (1 - share) / gained if is_paced else max(seconds * (1 - resumed) - elapsed, 0.0)
            total, known = total + rest, known + rest * (measured or is_paced)
            longest = max(longest, rest)
            is_overdue |= rest == 0 and not (measured or is_paced)
        if total == 0:
            return None if is_overdue else 0.0
        return max(total / max(parallel, 1), longest) if known >= 0.5 * total else None

    @property
    def factor(self) -> float:
        """How many times longer or shorter than said a forecast's jobs may take, 9 times of 10.

        From `ENOUGH` finished jobs on it follows from their scatter about what is expected of them now, as if all the
        others erred alike.
        """
        if len(self.jobs) < ENOUGH:
            return _GUESS
        errors = [math.log(max(seconds, 1e-3) / self.expected(job)[0]) for job, seconds in self.jobs]
        deviation = math.sqrt(mean(error**2 for error in errors))
        return min(max(math.exp(_QUANTILE * deviation), _SURE), _GUESS)

    def span(self, seconds: float) -> Span:
        """A forecast of `seconds` with its interval."""
        return Span(seconds=seconds, low=seconds / self.factor, high=seconds * self.factor)

    def total(self, jobs: Mapping[str, Job], machine: Machine) -> Span:
        """What `jobs` take on `machine`: no less than their share of its places, nor than the longest path."""
        on_cpu = machine.devices[0].name == "cpu"
        places = machine.cores if on_cpu else len(machine.main_devices)
        paths: dict[str, float] = {}
        shared = 0.0
        for name, job in jobs.items():
            seconds = self.duration(job, machine)
            shared += seconds * places_of(job, machine) / places
            paths[name] = seconds + max((paths.get(needed, 0.0) for needed in job.waits), default=0.0)
        return self.span(max(shared, max(paths.values(), default=0.0)))


def places_of(job: Job, machine: Machine) -> int:
    """How many of the machine's places the job takes: all cores of a CPU for a large one, else a core or a GPU for each
    of its processes."""
    if machine.devices[0].name != "cpu":
        return min(job.devices, len(machine.main_devices))
    return machine.cores if job.step_flops >= SMALL_STEP else min(job.devices, machine.cores)


def clock(seconds: float) -> str:
    """Hours and minutes: "2:05"; under a minute "<0:01"."""
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d}" if seconds >= 30 else "<0:01"
