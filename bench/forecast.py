"""How long a run will still take, from what its jobs have taken so far. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .jobs import Job

# A CPU core's sustained speed in training, for predictions before anything has run; a GPU is some 500 times that.
FLOPS_PER_SECOND = 4e10

# Jobs with fewer FLOPs take about as long as their start: they say nothing about a device's speed.
_LEAST_FLOPS = 1e10


@dataclass(kw_only=True)
class Forecast:
    """Seconds and FLOPs of the finished jobs, by kind."""

    seconds: dict[str, float] = field(default_factory=dict)
    flops: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def finished(self, job: Job, seconds: float) -> None:
        """Learn what a job has taken."""
        for table, value in ((self.seconds, seconds), (self.flops, job.flops)):
            table[job.kind] = table.get(job.kind, 0.0) + value
        self.counts[job.kind] = self.counts.get(job.kind, 0) + 1

    def expected(self, job: Job) -> tuple[float, bool]:
        """The seconds that a job will take, and whether one of its kind has been measured."""
        if job.kind in self.counts:
            mean, flops = self.seconds[job.kind] / self.counts[job.kind], self.flops[job.kind] / self.counts[job.kind]
            # Small jobs of a kind take about equally long, whatever their FLOPs.
            return mean * (job.flops / flops if min(flops, job.flops) >= _LEAST_FLOPS else 1.0), True
        large = [kind for kind in list(self.flops) if self.flops[kind] >= _LEAST_FLOPS * self.counts[kind]]
        seconds = sum(self.seconds[kind] for kind in large)
        speed = sum(self.flops[kind] for kind in large) / seconds if seconds > 0 else FLOPS_PER_SECOND
        return max(job.flops / speed, 1.0), False

    def left(
        self, waiting: Iterable[Job], running: Iterable[tuple[Job, float, float]], *, parallel: int
    ) -> float | None:
        """Seconds until all are done, `parallel` at a time; None while too little is known.

        `running` are jobs with the seconds since their start and the share that is done (0 where unknown).
        """
        total = known = longest = 0.0
        for job in waiting:
            seconds, measured = self.expected(job)
            total, known = total + seconds, known + seconds * measured
            longest = max(longest, seconds)
        for job, elapsed, share in running:
            seconds, measured = self.expected(job)
            rest = elapsed * (1 - share) / share if share >= 0.05 else max(seconds - elapsed, 0.0)
            total, known = total + rest, known + rest * (measured or share >= 0.05)
            longest = max(longest, rest)
        if total == 0:
            return 0.0
        return max(total / max(parallel, 1), longest) if known >= 0.5 * total else None


def clock(seconds: float) -> str:
    """Hours and minutes: "2:05"; under a minute "<0:01"."""
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d}" if seconds >= 30 else "<0:01"
