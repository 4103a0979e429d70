"""How long a run takes on eight devices, by the scheduler's own code and a simulated clock.

Run by hand: `python -P tests/coverage/scheduling.py [SEEDS]`. A thousand jobs whose times are heavy-tailed, in graphs
of several forms; the makespan over `max(total / 8, longest path)`, which nobody can beat: the worst of all seeds, with
the mean in brackets. Costs are known; learned while it runs (FLOPs say a job's time up to a factor of five by its kind,
and a scatter of 30 %); or not used, so that jobs begin in the order of the plan. Exits with 1 if a promise is broken.
"""

from __future__ import annotations

import heapq
import math
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import mean

from latentbench.bench.engines.schedule import Schedule, longest_paths
from latentbench.bench.engines.slots import Allocation
from latentbench.bench.forecast import GPU_FLOPS_PER_SECOND
from latentbench.bench.hardware import Device, Machine
from latentbench.bench.jobs import Job

DEVICES = 8
KNOWN, LEARNED = 1.05, 1.15  # promised
EIGHT = Machine(devices=tuple(Device(name=f"cuda:{i}", units=1, memory=1) for i in range(DEVICES)), cores=8)
KINDS = ("encoder", "tokenizer", "latents", "prior", "generation", "probes")


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Jobs by name, in the order of a plan, with what they really take in seconds."""

    jobs: Mapping[str, Job]
    seconds: Mapping[str, float]

    @property
    def bound(self) -> float:
        """No schedule is shorter."""
        return max(sum(self.seconds.values()) / DEVICES, max(longest_paths(self.jobs, self.seconds).values()))


class PlanOrder(Schedule):
    """Takes jobs as they come."""

    def _predict(self, waiting: Mapping[str, Job]) -> None:
        self._seconds = self._paths = dict.fromkeys(waiting, 1.0)


def chains(draws: random.Random, count: int) -> list[list[int]]:
    """Chains of one to eight jobs, one after the other in the plan."""
    needs: list[list[int]] = []
    while len(needs) < count:
        for link in range(min(draws.randint(1, 8), count - len(needs))):
            needs.append([len(needs) - 1] if link else [])
    return needs


def cells(draws: random.Random, count: int) -> list[list[int]]:
    """As in a suite: a tokenizer, its latents, and up to four things that read them, of which one is read in turn."""
    needs: list[list[int]] = [[]]
    while len(needs) < count:
        first = len(needs)
        needs += [[0], [first], *([first + 1] for _ in range(draws.randint(1, 4))), [first + 2]]
    return needs[:count]


def graph(draws: random.Random, count: int) -> list[list[int]]:
    """Each job needs up to two of the fifty before it."""
    return [
        sorted({draws.randrange(max(0, i - 50), i) for _ in range(draws.randint(0, 2))} if i else set())
        for i in range(count)
    ]


FORMS: dict[str, Callable[[random.Random, int], list[list[int]]]] = {"chains": chains, "cells": cells, "graph": graph}


def sweep(form: str, seed: int, *, count: int = 1000, scatter: float = 0.0, bias: float = 1.0) -> Sweep:
    """Log-normal times of median 60 s with deviation 1.3: a hundredth takes twenty times as long or more. What FLOPs
    say of them is wrong by a factor of up to `bias` either way for all jobs of a kind, and by `scatter` for each."""
    draws = random.Random(f"{form} {seed}")
    factors = {kind: bias ** draws.uniform(-1, 1) for kind in KINDS}
    jobs: dict[str, Job] = {}
    seconds: dict[str, float] = {}
    for number, needs in enumerate(FORMS[form](draws, count)):
        kind = draws.choice(KINDS)
        true = max(2.0, 60 * math.exp(draws.gauss(0, 1.3)))
        told = true * factors[kind] * math.exp(draws.gauss(0, scatter))
        job = Job(
            kind=kind,
            config={"number": number},
            versions={},
            depends={str(i): list(jobs)[i] for i in needs},
            flops=told * GPU_FLOPS_PER_SECOND,
        )
        jobs[job.id], seconds[job.id] = job, true
    return Sweep(jobs=jobs, seconds=seconds)


def makespan(run: Sweep, *, learn: bool, order: type[Schedule] = Schedule, machine: Machine = EIGHT) -> float:
    """Seconds from the first start to the last end."""
    now = 0.0
    schedule = order(machine=machine, clock=lambda: now)
    waiting, running = dict(run.jobs), dict[str, Allocation]()
    ends: list[tuple[float, str]] = []
    while waiting or running:
        for name, allocation in schedule.starts(waiting, running):
            del waiting[name]
            running[name] = allocation
            heapq.heappush(ends, (now + run.seconds[name], name))
        now, name = heapq.heappop(ends)
        schedule.slots.release(running.pop(name))
        if learn:
            schedule.forecast.finished(run.jobs[name], run.seconds[name])
    return now


def main() -> int:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    print(f"1000 jobs, {DEVICES} devices, {seeds} seeds: makespan / max(total / {DEVICES}, longest path)")
    print(f"{'':8}{'known':>16}{'learned':>16}{'plan order':>16}")
    broken = False
    for form in FORMS:
        ratios: dict[str, list[float]] = {"known": [], "learned": [], "plan order": []}
        for seed in range(seeds):
            known, told = sweep(form, seed), sweep(form, seed, scatter=0.3, bias=5.0)
            ratios["known"].append(makespan(known, learn=False) / known.bound)
            ratios["learned"].append(makespan(told, learn=True) / told.bound)
            ratios["plan order"].append(makespan(known, learn=False, order=PlanOrder) / known.bound)
        columns = (f"{max(values):.3f} ({mean(values):.3f})" for values in ratios.values())
        print(f"{form:8}" + "".join(f"{column:>16}" for column in columns), flush=True)
        broken |= max(ratios["known"]) > KNOWN or max(ratios["learned"]) > LEARNED
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
