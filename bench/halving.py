"""Successive halving: of a group's tokenizers only the best at each rung of their trainings are trained on. Torch-free.

A rung is a job of its own ("rung"), which trains on from the rung before and leaves its checkpoint to whoever follows.
Behind the trainings of a group a job "halving" ranks them; the next rung, and the whole training with all that reads
it, carry its `Gate` in their `runtime` and not in their key. So every engine, machine and later run decides alike, and
a tokenizer that survives is, to the bit, the one that a run without halving trains.

This is the synchronous algorithm, group by group. The asynchronous one (Li et al. 2018, arXiv 1810.05934) lets whoever
is among the best so far train on: what it trains depends on which job ended first, so that two runs of a suite would
have different tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from ..results.gates import CANDIDATES, HALVING, Gate, union
from .gates import below, candidate_groups
from .jobs import Job
from .kinds.halving import HalvingConfig, HalvingJob, is_trained
from .kinds.rung import rung_of
from .planned_cell import PlannedCell, Rungs
from .worker_protocol import CONTINUES

_TRAINING = "tokenizer"  # the kind that is trained in rungs


@dataclass(kw_only=True)
class _Halved:
    """What halving adds to a plan: `decisions` and `rungs` in the order of their dependence, the rungs of each training
    by its id, and of each cell by its name."""

    jobs: dict[str, Job] = field(default_factory=dict)
    rungs: dict[str, list[str]] = field(default_factory=dict)
    cells: dict[str, list[Gate]] = field(default_factory=dict)

    def add_rung(self, training: Job, rung: Job, gate: Gate | None) -> str:
        """The rung's id, which joins the jobs with what it goes on from; it needs one of the gates that it is given."""
        gates = () if gate is None else (gate,)
        known = self.jobs.get(rung.id)
        if known is not None:
            self.jobs[rung.id] = replace(known, gates=union((known.gates, gates)))
            return rung.id
        before = self.rungs.setdefault(training.id, [])
        done = sum(self.jobs[name].flops for name in before)
        runtime = {**rung.runtime, CONTINUES: before[::-1]} if before else rung.runtime
        self.jobs[rung.id] = replace(rung, runtime=runtime, flops=rung.flops - done, gates=gates)
        before.append(rung.id)
        return rung.id


def with_halving(
    config: HalvingConfig, cells: Sequence[PlannedCell], jobs: Mapping[str, Job], *, evaluation: Mapping[str, Any]
) -> tuple[tuple[PlannedCell, ...], dict[str, Job]]:
    """The cells and jobs of a plan with the rungs that `config` asks for: first what needs no such training, then rungs
    and decisions, then whole trainings and what reads them. `evaluation` is what the suite's holds for keys.

    A group of no more tokenizers than are trained to the end has no rungs.
    """
    halved = _Halved()
    trained = [planned for planned in cells if is_trained(planned.cell)]
    for title, candidates in candidate_groups(trained, group=config.group, kind=_TRAINING).items():
        _add_group(halved, config, candidates, jobs, title=title, evaluation=evaluation)
    halves = {planned.jobs[_TRAINING] for planned in cells if planned.cell.name in halved.cells}
    held = below(jobs, lambda job: job.id in halves)
    asked: dict[str, list[tuple[Gate, ...]]] = {}
    result = []
    for planned in cells:
        gates = halved.cells.get(planned.cell.name, [])
        for name in (*planned.jobs.values(), *planned.shared):
            if name in held:
                asked.setdefault(name, []).append(tuple(gates[-1:]))
        if gates:
            own = tuple(halved.rungs.get(planned.jobs[_TRAINING], ()))
            holds = tuple(kind for kind, name in planned.jobs.items() if name in held)
            shared = {*planned.shared, *own, *(gate.job for gate in gates)}
            rungs = Rungs(gates=tuple(gates), trained=own, holds=holds)
            planned = replace(planned, rungs=rungs, shared=tuple(sorted(shared)))
        result.append(planned)
    first = {name: job for name, job in jobs.items() if name not in held}
    last = {name: _going_on(replace(jobs[name], gates=union(of)), halved) for name, of in asked.items()}
    in_order = {name: last[name] for name in jobs if name in last}
    return tuple(result), first | halved.jobs | in_order


def _add_group(
    halved: _Halved,
    config: HalvingConfig,
    candidates: Mapping[str, Sequence[PlannedCell]],
    jobs: Mapping[str, Job],
    *,
    title: str,
    evaluation: Mapping[str, Any],
) -> None:
    """Add a group's rungs, each with the decision behind it, the lowest first."""
    trainings = {name: _trainings(members, config.seeds) for name, members in candidates.items()}
    decision: Job | None = None
    through: dict[str, Gate] = {}  # by candidate the gate of the rung before
    before = 0  # how many that lets through
    for share, limit in config.rungs(len(candidates)):
        ranked: dict[str, list[str]] = {}
        for name, own in trainings.items():
            rungs = [rung_of(jobs[job], share, samples=config.samples, evaluation=evaluation) for job in own]
            gate = through.get(name)
            ranked[name] = [halved.add_rung(jobs[job], r, gate) for job, r in zip(own, rungs, strict=True)]
        decision = _decision(config, ranked, share=share, title=title, before=decision, limit=before)
        halved.jobs[decision.id] = decision
        through = {name: Gate(job=decision.id, candidate=name, limit=limit) for name in candidates}
        before = limit
        for name, members in candidates.items():
            for planned in members:
                halved.cells.setdefault(planned.cell.name, []).append(through[name])


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
    facts[CANDIDATES] = {name: sorted(of) for name, of in ranked.items()}
    return Job(
        kind=HALVING,
        config=facts if before is None else facts | {"limit": limit},
        versions={f"kind.{HALVING}": HalvingJob.version},
        depends={} if before is None else {"before": before.id},
        title=f"{HALVING} {title} after {share}",
        on_cpu=True,
        flops=1e6,
        after=tuple(dict.fromkeys(job for of in ranked.values() for job in of)),
    )


def _going_on(job: Job, halved: _Halved) -> Job:
    """The job; a training goes on from its rungs."""
    rungs = halved.rungs.get(job.id)
    if not rungs:
        return job
    done = sum(halved.jobs[name].flops for name in rungs)
    return replace(job, runtime={**job.runtime, CONTINUES: rungs[::-1]}, flops=job.flops - done)
