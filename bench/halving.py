"""Successive halving: of a group's tokenizers only the best at each rung of their trainings are trained on. Torch-free.

A rung is a job of its own ("rung"), which trains on from the rung before and leaves its checkpoint to whoever follows.
Behind the trainings of a group a job "halving" ranks them; the next rung, and the whole training with all that reads
it, carry its `Gate` in their `runtime` and not in their key. So every engine, machine and later run decides alike, and
a tokenizer that survives is, to the bit, the one that a run without halving trains.

Synchronous, there is a decision for each rung of a group, behind all of its trainings. Asynchronous (Li et al. 2018,
arXiv 1810.05934) each training has its own, behind those of the trainings before it: by an order drawn from names, and
not by the clock, or two runs of a suite would have different tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from ..results.gates import ASYNCHRONOUS, CANDIDATES, HALVING, Gate, union
from .gates import below, candidate_groups
from .jobs import Job
from .kinds.halving import HalvingConfig, HalvingJob, is_trained, passing
from .kinds.rung import rung_of
from .planned_cell import PlannedCell, Rungs
from .worker_protocol import CONTINUES

_TRAINING = "tokenizer"  # the kind that is trained in rungs


@dataclass(kw_only=True)
class _Halved:
    """What halving adds to a plan: `jobs` are rungs and decisions in the order of their dependence, `rungs` the ids of
    those of each training, by its id, and `gates` those of each cell, by its name, the lowest first."""

    config: HalvingConfig
    evaluation: Mapping[str, Any]
    jobs: dict[str, Job] = field(default_factory=dict)
    rungs: dict[str, list[str]] = field(default_factory=dict)
    gates: dict[str, list[Gate]] = field(default_factory=dict)

    def add_rung(self, training: Job, share: Fraction, gates: tuple[Gate, ...]) -> str:
        """The id of the rung, which joins the jobs; where it has `gates` it needs one of them."""
        rung = self._rung(training, share)
        if rung.id in self.jobs:
            rung = self.jobs[rung.id]
            self.jobs[rung.id] = replace(rung, gates=union((rung.gates, gates)))
            return rung.id
        flops = rung.flops - self._done(training)
        self.jobs[rung.id] = replace(rung, flops=flops, gates=gates, runtime=self._runtime(training, share))
        self.rungs.setdefault(training.id, []).append(rung.id)
        return rung.id

    def add_gates(self, cells: Iterable[PlannedCell], gates: Sequence[Gate]) -> None:
        """The cells have to go through these too."""
        for planned in cells:
            self.gates.setdefault(planned.cell.name, []).extend(gates)

    def going_on(self, job: Job) -> Job:
        """The job; a training goes on from its rungs."""
        if job.kind != _TRAINING:
            return job
        return replace(job, runtime=self._runtime(job, Fraction(1)), flops=job.flops - self._done(job))

    def _rung(self, training: Job, share: Fraction) -> Job:
        return rung_of(training, share, samples=self.config.samples, evaluation=self.evaluation)

    def _runtime(self, training: Job, share: Fraction) -> dict[str, Any]:
        """Also rungs that are not in the plan are named: they may be of a run that has stopped more trainings."""
        below = [self._rung(training, lower).id for lower in reversed(self.config.shares) if lower < share]
        return {**training.runtime, CONTINUES: below} if below else dict(training.runtime)

    def _done(self, training: Job) -> float:
        """FLOPs of the training that its rungs take."""
        return sum(self.jobs[name].flops for name in self.rungs.get(training.id, ()))


def with_halving(
    config: HalvingConfig, cells: Sequence[PlannedCell], jobs: Mapping[str, Job], *, evaluation: Mapping[str, Any]
) -> tuple[tuple[PlannedCell, ...], dict[str, Job]]:
    """The cells and jobs of a plan with the rungs that `config` asks for: first what needs no such training, then rungs
    and decisions, then whole trainings and what reads them. `evaluation` is what the suite's holds for keys.

    A group of no more tokenizers than are trained to the end has no rungs.
    """
    halved = _Halved(config=config, evaluation=evaluation)
    trained = [planned for planned in cells if is_trained(planned.cell)]
    add_group = _add_asynchronous if config.asynchronous else _add_group
    for title, candidates in candidate_groups(trained, group=config.group, kind=_TRAINING).items():
        add_group(halved, candidates, jobs, title=title)
    trainings = {planned.jobs[_TRAINING] for planned in trained}
    halves = {planned.jobs[_TRAINING] for planned in trained if planned.cell.name in halved.gates}
    held = below(jobs, lambda job: job.id in halves)
    asked: dict[str, list[tuple[Gate, ...]]] = {}
    result = []
    for planned in cells:
        gates = tuple(halved.gates.get(planned.cell.name, ()))
        for name in (*planned.jobs.values(), *planned.shared):
            if name in held:
                asked.setdefault(name, []).append(gates[-1:])
        if gates:
            own = tuple(halved.rungs.get(planned.jobs[_TRAINING], ()))
            holds = tuple(kind for kind, name in planned.jobs.items() if name in held)
            shared = {*planned.shared, *own, *(gate.job for gate in gates)}
            rungs = Rungs(gates=gates, trained=own, holds=holds)
            planned = replace(planned, rungs=rungs, shared=tuple(sorted(shared)))
        result.append(planned)
    whole = {name: halved.going_on(job) if name in trainings else job for name, job in jobs.items()}
    first = {name: job for name, job in whole.items() if name not in held}
    last = {name: replace(job, gates=union(asked[name])) for name, job in whole.items() if name in held}
    return tuple(result), first | halved.jobs | last


def _add_group(
    halved: _Halved, candidates: Mapping[str, Sequence[PlannedCell]], jobs: Mapping[str, Job], *, title: str
) -> None:
    """Add a group's rungs, each with the decision behind it, the lowest first."""
    trainings = {name: _trainings(members, halved.config.seeds) for name, members in candidates.items()}
    decision: Job | None = None
    gates: dict[str, tuple[Gate, ...]] = dict.fromkeys(candidates, ())  # of the rung before
    left = 0  # how many those let through
    for share, limit in halved.config.rungs(len(candidates)):
        ranked = {
            name: sorted(halved.add_rung(jobs[job], share, gates[name]) for job in own)
            for name, own in trainings.items()
        }
        decision = _decision(halved.config, ranked, share=share, title=title, before=decision, limit=left)
        halved.jobs[decision.id] = decision
        gates = {name: (Gate(job=decision.id, candidate=name, limit=limit),) for name in candidates}
        left = limit
        for name, members in candidates.items():
            halved.add_gates(members, gates[name])


def _add_asynchronous(
    halved: _Halved, candidates: Mapping[str, Sequence[PlannedCell]], jobs: Mapping[str, Job], *, title: str
) -> None:
    """Add the rungs of one after another of a group, each with a decision behind it and behind that on the one before.

    Names are digests, so that their order is a random one, of which a grid's own, from worse to better, is not.
    """
    config = halved.config
    earlier: dict[Fraction, str] = {}  # the last decision at each rung
    for number, (name, members) in enumerate(sorted(candidates.items()), start=1):
        gates: tuple[Gate, ...] = ()
        for share, _ in config.rungs(len(candidates)):
            own = [halved.add_rung(jobs[job], share, gates) for job in _trainings(members, config.seeds)]
            depends = {"before": gates[0].job} if gates else {}
            depends |= {"earlier": earlier[share]} if share in earlier else {}
            facts: dict[str, Any] = {"metric": config.metric, "share": str(share), CANDIDATES: {name: sorted(own)}}
            facts |= {ASYNCHRONOUS: {"eta": config.eta, "best": config.best}}
            facts |= {"limit": gates[0].limit} if gates else {}
            what = f"{title} after {share}: {number} of {len(candidates)}"
            decision = _job(facts, depends, what, after=sorted(own))
            halved.jobs[decision.id] = decision
            earlier[share] = decision.id
            gates = (Gate(job=decision.id, candidate=name, limit=passing(number, eta=config.eta, best=config.best)),)
            halved.add_gates(members, gates)


def _trainings(cells: Sequence[PlannedCell], seeds: int | None) -> list[str]:
    """The jobs that train a candidate, each once, of its first `seeds` seeds."""
    ordered = sorted(cells, key=lambda planned: planned.cell.seed)
    return list(dict.fromkeys(planned.jobs[_TRAINING] for planned in ordered))[:seeds]


def _decision(
    config: HalvingConfig,
    ranked: Mapping[str, Sequence[str]],
    *,
    share: Fraction,
    title: str,
    before: Job | None,
    limit: int,
) -> Job:
    """Its key has what ranks, the jobs of each candidate, and who has come so far: the decision `before`, and how many
    that lets through."""
    facts: dict[str, Any] = {"metric": config.metric, "share": str(share)}
    facts[CANDIDATES] = dict(ranked)
    after = tuple(dict.fromkeys(job for of in ranked.values() for job in of))
    if before is None:
        return _job(facts, {}, f"{title} after {share}", after=after)
    return _job(facts | {"limit": limit}, {"before": before.id}, f"{title} after {share}", after=after)


def _job(facts: Mapping[str, Any], depends: Mapping[str, str], title: str, *, after: Sequence[str]) -> Job:
    return Job(
        kind=HALVING,
        config=dict(facts),
        versions={f"kind.{HALVING}": HalvingJob.version},
        depends=dict(depends),
        title=f"{HALVING} {title}",
        on_cpu=True,
        flops=1e6,
        after=tuple(after),
    )
