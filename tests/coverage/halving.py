"""How often successive halving trains the best tokenizer to its end, and how much it saves, by simulation.

Run by hand: `python -P tests/coverage/halving.py [SWEEPS [PLANS]]`. A sweep draws for each tokenizer a score at every
rung and an outcome from normal distributions, more being better, and stops whom `[halving]` does. The lowest rung and
the outcome correlate by ρ; in between, each rung and the next correlate alike (a Markov chain), so that of R rungs the
last correlates with the outcome by ρ^(1/R). Of each ρ and setting: the share of sweeps in which the tokenizer with the
best outcome is trained to its end, and the mean regret, by how many standard deviations of the outcome the best that is
lies behind it. Exits with 1 if chance (ρ = 0) lets the best through more or less often than the numbers say.

Then how long such a sweep takes on eight devices, synchronous and asynchronous, by the plan's own jobs, the scheduler's
own code and a simulated clock: trainings take log-normal times, and scores say nothing.
"""

from __future__ import annotations

import heapq
import math
import random
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from latentbench.bench.engines.schedule import Schedule
from latentbench.bench.engines.slots import Allocation
from latentbench.bench.forecast import GPU_FLOPS_PER_SECOND
from latentbench.bench.hardware import Device, Machine
from latentbench.bench.jobs import Job
from latentbench.bench.kinds.halving import HalvingConfig, passing
from latentbench.bench.plan import make_plan
from latentbench.bench.suite import load_suite
from latentbench.results.gates import ASYNCHRONOUS, CANDIDATES, places

Array = NDArray[np.float64]
CORRELATIONS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9)
_TWO = HalvingConfig(metric="score")
_HALF = HalvingConfig(metric="score", eta=2, min=0.25)
_ONE = HalvingConfig(metric="score", min=1 / 3)
_ASHA = HalvingConfig(metric="score", asynchronous=True)
COLUMNS = (
    *((12, _TWO), (12, HalvingConfig(metric="score", best=3)), (12, _HALF), (12, _ONE), (12, _ASHA)),
    *((27, _TWO), (27, HalvingConfig(metric="score", eta=2)), (27, _HALF), (27, _ONE), (27, _ASHA)),
)
DEVICES = 8
_GPUS = tuple(Device(name=f"cuda:{i}", units=1, memory=1) for i in range(DEVICES))
EIGHT = Machine(devices=(*_GPUS, Device(name="cpu", units=DEVICES, memory=1)), cores=DEVICES)
SPREADS = (0.0, 0.5, 1.0)  # of the logarithm of a training's time


@dataclass(frozen=True, kw_only=True)
class Result:
    """`survived`: the share of sweeps whose best is trained to its end; `regret`: in standard deviations of the
    outcome, the mean over sweeps; `saved`: the share of all steps that is not done, likewise."""

    survived: float
    regret: float
    saved: float


def draws(correlation: float, rungs: int, size: int, sweeps: int, seed: int) -> Array:
    """Scores at the rungs, and the outcome as the last: `[rungs + 1, sweeps, size]`."""
    generator = np.random.default_rng(seed)
    step = correlation ** (1 / rungs)
    values = generator.standard_normal((rungs + 1, sweeps, size))
    for number in range(1, rungs + 1):
        values[number] = step * values[number - 1] + math.sqrt(1 - step**2) * values[number]
    return values


def surviving(scores: Array, limits: list[int]) -> NDArray[np.bool_]:
    """Who is trained to the end, `[sweeps, size]`: at each rung the so many highest of those that are left."""
    left = np.ones(scores.shape[1:], dtype=np.bool_)
    for score, limit in zip(scores, limits, strict=True):
        places = 1 + np.where(left, -score, np.inf).argsort(1).argsort(1)
        left &= places <= limit
    return left


def surviving_one_by_one(scores: Array, config: HalvingConfig) -> list[NDArray[np.bool_]]:
    """Who goes on from each rung, `[sweeps, size]`, where everybody is compared with those before: asynchronous."""
    left, result = np.ones(scores.shape[1:], dtype=np.bool_), []
    for score in scores:
        before, left = left, left.copy()
        for number in range(score.shape[1]):
            come = before[:, : number + 1]
            place = 1 + (come & (score[:, : number + 1] > score[:, [number]])).sum(1)
            limit = np.maximum(config.best, come.sum(1) // config.eta)
            left[:, number] &= place <= limit
        result.append(left)
    return result


def simulate(correlation: float, size: int, config: HalvingConfig, *, sweeps: int, seed: int = 0) -> Result:
    """Many sweeps of `size` tokenizers."""
    limits = [limit for _, limit in config.rungs(size)]
    values = draws(correlation, len(limits), size, sweeps, seed)
    outcome, steps = values[-1], saved(size, config)
    if config.asynchronous:
        alive = surviving_one_by_one(values[:-1], config)
        through = alive[-1]
        shares = np.diff([*(float(share) for share, _ in config.rungs(size)), 1.0])
        first = float(config.rungs(size)[0][0])
        steps = 1 - first - float(sum(share * at.mean() for share, at in zip(shares, alive, strict=True)))
    else:
        through = surviving(values[:-1], limits)
    rows, best = np.arange(sweeps), outcome.argmax(1)
    regret = outcome[rows, best] - np.where(through, outcome, -np.inf).max(1)
    return Result(survived=float(through[rows, best].mean()), regret=float(regret.mean()), saved=steps)


def saved(size: int, config: HalvingConfig) -> float:
    """The share of the steps of `size` whole trainings that are not done."""
    left, done, spent = size, 0.0, 0.0
    for share, limit in config.rungs(size):
        spent += left * (float(share) - done)
        left, done = limit, float(share)
    return 1 - (spent + left * (1 - done)) / size


def label(size: int, config: HalvingConfig) -> str:
    """As 12 → 4 → 1 at 1/9, 1/3; asynchronous, nobody knows how many go on."""
    rungs = config.rungs(size)
    if config.asynchronous:
        return f"{size}, asynchronous at {', '.join(str(s) for s, _ in rungs)}"
    return " → ".join(map(str, [size, *(limit for _, limit in rungs)])) + f" at {', '.join(str(s) for s, _ in rungs)}"


def trainings(size: int, config: HalvingConfig) -> dict[str, Job]:
    """The rungs, decisions and whole trainings of a plan of so many tokenizers."""
    tokenizers = [{"recipe": "ae", "downsample": 4, "grid": {"channels": [*range(1, size + 1)]}}]
    data = {"name": "shapes", "modality": "image", "size": 16}
    halving = asdict(config) | {"metric": "psnr", "group": [*config.group]}
    suite = {"name": "halving", "data": data, "tokenizers": tokenizers, "tasks": ["reconstruction"], "features": []}
    options = {"halving": {name: value for name, value in halving.items() if value is not None}}
    jobs = make_plan(load_suite(suite | options), {"shapes": "f"}).jobs
    kept = {name: job for name, job in jobs.items() if job.kind in ("rung", "halving", "tokenizer")}
    return {name: replace(job, depends=_within(job.depends, kept)) for name, job in kept.items()}


def _within(depends: Mapping[str, str], jobs: Mapping[str, Job]) -> dict[str, str]:
    return {role: name for role, name in depends.items() if name in jobs}


def makespan(jobs: Mapping[str, Job], *, spread: float, seed: int) -> tuple[float, float]:
    """The time until all have ended that are not left out, and what the devices have worked; a whole training takes 1,
    with so much of a standard deviation of the logarithm, and scores are drawn."""
    chance = random.Random(seed)
    factors = {_trained(job): math.exp(spread * chance.gauss(0, 1)) for job in jobs.values() if job.kind == "tokenizer"}
    whole: Counter[str] = Counter()
    for job in jobs.values():
        whole[_trained(job)] += job.flops
    times = {
        name: 0.0 if job.kind == "halving" else factors[_trained(job)] * job.flops / whole[_trained(job)]
        for name, job in jobs.items()
    }
    waiting = {name: replace(job, flops=times[name] * GPU_FLOPS_PER_SECOND) for name, job in jobs.items()}
    decisions = _Decisions(jobs=jobs, chance=chance)
    now, worked, running = 0.0, 0.0, dict[str, Allocation]()
    ends: list[tuple[float, str]] = []
    schedule = Schedule(machine=EIGHT, clock=lambda: now)
    while waiting or running:
        for name in [name for name, job in waiting.items() if decisions.stop(job)]:
            del waiting[name]
        for name, allocation in schedule.starts(waiting, running):
            del waiting[name]
            running[name], worked = allocation, worked + times[name]
            heapq.heappush(ends, (now + times[name], name))
        if ends:
            now, name = heapq.heappop(ends)
            schedule.slots.release(running.pop(name))
            if jobs[name].kind == "halving":
                decisions.make(name)
    return now, worked


def _trained(job: Job) -> str:
    """What tells a rung's training."""
    return job.title.partition("channels=")[2]


@dataclass(kw_only=True)
class _Decisions:
    """Who passes at each decision, and those that had come so far with their scores."""

    jobs: Mapping[str, Job]
    chance: random.Random
    passed: dict[str, set[str]] = field(default_factory=dict)
    come: dict[str, dict[str, float | None]] = field(default_factory=dict)

    def stop(self, job: Job) -> bool:
        """Whether its gates are decided, and none lets it through."""
        return bool(job.gates) and all(
            gate.job in self.passed and gate.candidate not in self.passed[gate.job] for gate in job.gates
        )

    def make(self, name: str) -> None:
        depends, config = self.jobs[name].depends, self.jobs[name].config
        own = [c for c in config[CANDIDATES] if "before" not in depends or c in self.passed[depends["before"]]]
        earlier = self.come[depends["earlier"]] if "earlier" in depends else {}
        come = self.come[name] = earlier | {candidate: self.chance.random() for candidate in own}
        if ASYNCHRONOUS in config:
            limit = passing(len(come), **config[ASYNCHRONOUS])
        else:
            limit = next(gate.limit for job in self.jobs.values() for gate in job.gates if gate.job == name)
        ranks = places(come, higher=True)
        self.passed[name] = {candidate for candidate in own if (ranks[candidate] or limit + 1) <= limit}


def times(size: int, *, plans: int) -> None:
    """Print how long a sweep takes on the devices, and how much of that they have nothing to do."""
    configs = {"synchronous": _TWO, "asynchronous": _ASHA}
    jobs = {name: trainings(size, config) for name, config in configs.items()}
    print(f"\n{size} tokenizers on {DEVICES} devices, {plans} sweeps: time in whole trainings (idle)")
    print("| spread |" + "".join(f" {name} |" for name in configs))
    print("| ---: |" + " ---: |" * len(configs))
    for spread in SPREADS:
        cells = []
        for own in jobs.values():
            spans, worked = zip(*(makespan(own, spread=spread, seed=seed) for seed in range(plans)), strict=True)
            cells.append(f" {mean(spans):.2f} ({1 - sum(worked) / DEVICES / sum(spans):.0%}) |")
        print(f"| {spread} |" + "".join(cells), flush=True)


def main() -> int:
    sweeps = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    print(f"{sweeps} sweeps: the best is trained to its end (mean regret in standard deviations of the outcome)")
    print("| ρ |" + "".join(f" {label(*column)} |" for column in COLUMNS))
    print("| ---: |" + " ---: |" * len(COLUMNS))
    broken, results = False, list[Result]()
    for correlation in CORRELATIONS:
        results = [simulate(correlation, size, config, sweeps=sweeps) for size, config in COLUMNS]
        cells = (f" {result.survived:.0%} ({result.regret:.2f}) |" for result in results)
        print(f"| {correlation} |" + "".join(cells), flush=True)
        if correlation == 0:
            expected = [None if c.asynchronous else c.rungs(size)[-1][1] / size for size, c in COLUMNS]
            error = 4 * 0.5 / math.sqrt(sweeps)
            checked = [(r, e) for r, e in zip(results, expected, strict=True) if e is not None]
            broken = any(abs(r.survived - e) > error for r, e in checked)
    print("| steps saved |" + "".join(f" {result.saved:.0%} |" for result in results))
    plans = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    for size in (27, 81):
        times(size, plans=plans)
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
