"""Which of the jobs whose needs are met begins next, and where: longest path first. Torch-free.

The path of a job is what it is predicted to take, and then the longest chain of jobs that hang on it: a run ends no
sooner. Predictions follow from FLOPs, and are corrected by what finished jobs of the kind have taken. Engines use this
by the clock, `tests/coverage/scheduling.py` by a simulated one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter

from ...results.record import Record
from ...results.store import Store
from ..forecast import ENOUGH, Forecast
from ..hardware import Machine
from ..jobs import Job
from .slots import Allocation, Slots

_NEWS = 1.1  # paths are predicted again when so many times more jobs have been measured


def longest_paths(jobs: Mapping[str, Job], seconds: Mapping[str, float]) -> dict[str, float]:
    """Of each job, its own `seconds` and those of the longest chain of `jobs` that wait for it."""
    graph = {name: [needed for needed in job.waits if needed in jobs] for name, job in jobs.items()}
    behind = dict.fromkeys(jobs, 0.0)
    paths: dict[str, float] = {}
    for name in reversed([*TopologicalSorter(graph).static_order()]):
        paths[name] = seconds[name] + behind[name]
        for needed in graph[name]:
            behind[needed] = max(behind[needed], paths[name])
    return paths


@dataclass(kw_only=True)
class Schedule:
    """What is free on `machine`, and what jobs are predicted to take; `clock` tells seconds from any start."""

    machine: Machine
    clock: Callable[[], float] = time.monotonic
    forecast: Forecast = field(init=False)
    slots: Slots = field(init=False)
    _seconds: dict[str, float] = field(default_factory=dict)
    _paths: dict[str, float] = field(default_factory=dict)
    _news: float = 0.0

    def __post_init__(self) -> None:
        self.forecast = Forecast.on(self.machine.devices[0].name.partition(":")[0])
        self.slots = Slots(self.machine)

    def starts(
        self,
        waiting: Mapping[str, Job],
        running: Collection[str],
        *,
        alone: Callable[[str], bool] = lambda name: False,
        elsewhere: Callable[[Job], bool] = lambda job: False,
    ) -> Iterator[tuple[str, Allocation]]:
        """The jobs that begin now, each with its place.

        Whoever takes one moves it from `waiting` to `running` before the next; or gives back the place. Jobs of equal
        paths begin in the order of `waiting`, those that are to be `alone` before all others. The first that is too
        large for what is free, and not being done `elsewhere`, is overtaken by nothing but what should have ended by
        the time it can begin. One for more devices than the machine has is left to others, if they do it.
        """
        if not self.slots.any_free():
            return
        ready = [
            name
            for name, job in waiting.items()
            if not any(needed in waiting or needed in running for needed in job.waits)
        ]
        if not ready:
            return
        self._predict(waiting)
        self.slots.begin()
        for name in sorted(ready, key=lambda name: (not alone(name), -self._paths[name])):
            job, now = waiting[name], self.clock()
            if job.devices > self.machine.places and elsewhere(job):
                continue
            allocation = self.slots.allocate(job, alone=alone(name), ends=now + self._seconds[name])
            if allocation is not None:
                yield name, allocation
            elif not self.slots.any_free():
                return
            elif not self.slots.reserves and not elsewhere(job):
                self.slots.reserve(job, now)

    def learn(self, job: Job, record: Record | None) -> None:
        """Learn what a finished job has taken from its record, if it ran on this sort of device."""
        self.forecast.recorded(job, record, device=self.machine.devices[0].name.partition(":")[0])

    def remember(self, store: Store, finished: Iterable[Job]) -> None:
        """Learn from the records of some finished jobs of each kind."""
        looks = Counter[str]()
        for job in finished:
            looks[job.kind] += 1
            if looks[job.kind] <= ENOUGH:
                self.learn(job, store.load_any(job.kind, job.key))

    def _predict(self, waiting: Mapping[str, Job]) -> None:
        """Predict what waiting jobs take: again where that has become better known, or a job has come back."""
        learned = len(self.forecast.jobs)
        if learned < self._news and all(name in self._paths for name in waiting):
            return
        self._news = 1 + _NEWS * learned
        self._seconds = {name: self.forecast.duration(job, self.machine) for name, job in waiting.items()}
        self._paths = longest_paths(waiting, self._seconds)
