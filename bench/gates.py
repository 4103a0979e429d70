"""Gates: priors are trained only for the tokenizers that are among the best of their group. Torch-free.

The plan has a job "gate" for each group, which comes `after` all that is measured without priors, whatever became of
it: the decision needs the whole group, so that it depends on no order in which jobs end, on no machine and no engine.
Its record ranks the candidates. The jobs of priors, and all that read them, carry the `Gate` through which they have to
go, in their `runtime` and not in their key: a prior is the same prior with and without a gate. Engines ask the
`Gatekeeper` as soon as the record is there; on every machine it reads the same record, of which the first one counts.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..results.display import printable
from ..results.gates import ASYNCHRONOUS, CANDIDATES, GATE, HALVING, SCORE, Gate, is_partial, reason_of_all, union
from ..results.record import Record
from ..results.store import Store, atomic_write
from .engines.interface import Event
from .jobs import Job

if TYPE_CHECKING:  # a status imports this module, and these take half a second
    from rich.console import Console

    from .kinds.gate import GateConfig
    from .planned_cell import PlannedCell
    from .suite import Suite

PRIOR = "prior"  # the kind that a gate holds back, with all that reads it
LATENTS = "latents"  # the kind whose job tells tokenizers apart


class Gated(Protocol):
    """A job, or what a plan's file tells of it."""

    @property
    def flops(self) -> float:
        """What it is expected to take."""

    @property
    def gates(self) -> tuple[Gate, ...]:
        """Those of which one must let it through, where there are any."""


T = TypeVar("T", bound=Gated)


@dataclass(kw_only=True)
class Gatekeeper:
    """What gates say of jobs; each gate's record is read once."""

    store: Store
    records: dict[str, Record] = field(default_factory=dict)

    def reason(self, gates: Sequence[Gate]) -> str:
        """Why none of the gates, as far as they have a record, lets a job through; "" where one does."""
        for gate in gates:
            if gate.job not in self.records:
                record = self.store.load(*gate.job.split("/"))
                if record is not None:
                    self.records[gate.job] = record
        if not any(gate.job in self.records for gate in gates):
            return f"{gates[0].job} has no valid record: run the suite again"
        return reason_of_all(self.records, gates)

    def stopped(self, job: Job, *, failed: Collection[str], is_open: Callable[[str], bool]) -> Event | None:
        """The event of a waiting job that will not be done: what it needs has `failed`, or no gate lets it through. A
        gate that is still open decides later."""
        broken = [needed for needed in job.depends.values() if needed in failed]
        if broken:
            return Event(kind="skipped", job=job.id, message=f"{broken[0]} failed")
        if not job.gates or any(is_open(gate.job) for gate in job.gates):
            return None
        if all(gate.job in failed for gate in job.gates):
            return Event(kind="skipped", job=job.id, message=f"{job.gates[0].job} failed")
        why = self.reason(job.gates)
        return Event(kind="left out", job=job.id, message=why) if why else None


def left_out(jobs: Mapping[str, Gated], finished: Collection[str], store: Store) -> dict[str, str]:
    """Those of the `jobs` that finished gates have left out already, each with the reason."""
    keeper = Gatekeeper(store=store)
    return {
        name: why
        for name, job in jobs.items()
        if job.gates and all(gate.job in finished for gate in job.gates) and (why := keeper.reason(job.gates))
    }


def forget_partial(store: Store, finished: Mapping[str, Job]) -> list[str]:
    """Discard the records of gates that have decided without what had failed, since a run does that again; returns
    their ids."""
    partial = []
    for name, job in finished.items():
        record = store.load_any(job.kind, job.key) if job.kind in (GATE, HALVING) else None
        if record is not None and is_partial(record):
            store.discard(record)
            partial.append(name)
    return partial


def keep_score(suite: Suite, store: Store, console: Console) -> None:
    """Leave the score by which the suite's gate ranks in the run's folder, where its tables find it."""
    from ..results.calibration.score_file import placed
    from ..results.run_score import FILE as SCORE_FILE

    config: GateConfig = suite.options[GATE]
    if not config.score:
        return
    content, place = placed(Path(config.score)).read_bytes(), store.root / SCORE_FILE
    if not place.exists():
        atomic_write(place, content)
    elif place.read_bytes() != content:
        text = f"{printable(str(place))} is another score than gate.score: tables show that one"
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def at_most(jobs: Mapping[str, T]) -> dict[str, T]:
    """The jobs that would run if of each gate's candidates the costliest passed, without ties."""
    costs: dict[str, dict[str, float]] = {}
    limits: dict[str, int] = {}
    for job in jobs.values():
        for gate in job.gates:
            of_gate = costs.setdefault(gate.job, {})
            of_gate[gate.candidate] = of_gate.get(gate.candidate, 0.0) + job.flops
            limits[gate.job] = gate.limit
    through = {
        (gate, candidate)
        for gate, of_gate in costs.items()
        for candidate in sorted(of_gate, key=lambda name: (-of_gate[name], name))[: limits[gate]]
    }
    return {
        name: job
        for name, job in jobs.items()
        if not job.gates or any((gate.job, gate.candidate) in through for gate in job.gates)
    }


def descriptions(jobs: Mapping[str, Job]) -> list[str]:
    """A line for each gate of a plan, or for all of a group that decide on one tokenizer each: how many of how many
    tokenizers pass, by what."""
    limits = {gate.job: gate.limit for job in jobs.values() for gate in job.gates}
    return [*dict.fromkeys(_description(jobs[name], limits[name]) for name in jobs if name in limits)]


def _description(gate: Job, limit: int) -> str:
    total = len(gate.config[CANDIDATES])
    if ASYNCHRONOUS in gate.config:
        title, _, place = gate.title.rpartition(": ")
        rule = gate.config[ASYNCHRONOUS]
        least = f", or the best {rule['best']}," if rule["best"] > 1 else ""
        who = f"in the best 1/{rule['eta']}{least} by {gate.config['metric']} of those that have come so far"
        return f"{title} of the training: of {place.rpartition(' of ')[2]} tokenizers each trains on that is {who}"
    if gate.kind == HALVING:
        best = f"best {limit} of {gate.config.get('limit', total)} tokenizers by {gate.config['metric']}"
        return f"{gate.title} of the training: the {best} are trained on"
    return f"{gate.title}: priors for the best {limit} of {total} tokenizers by {gate.config.get('by', SCORE)}"


def with_gates(
    config: GateConfig, cells: Sequence[PlannedCell], jobs: Mapping[str, Job], *, suite: str, kinds: Sequence[str]
) -> tuple[tuple[PlannedCell, ...], dict[str, Job]]:
    """The cells and jobs of a plan with the gates that `config` asks for: the jobs that need no prior first, then the
    gates, then what they hold back. `kinds` are in the order in which they depend on each other.

    A group of no more candidates than pass has no gate.
    """
    held = below(jobs, lambda job: job.kind == PRIOR)
    through: dict[str, Gate] = {}  # by the cell's name
    gates: dict[str, Job] = {}
    with_prior = [planned for planned in cells if PRIOR in planned.jobs]
    for title, candidates in candidate_groups(with_prior, group=config.group, kind=LATENTS).items():
        limit = config.limit(len(candidates))
        if limit >= len(candidates):
            continue
        measured = {name: _measured(members, held) for name, members in candidates.items()}
        job = _gate_job(config, measured, title=title, suite=suite, kinds=kinds)
        gates[job.id] = job
        for name, members in candidates.items():
            ranked = Gate(job=job.id, candidate=name, limit=limit)
            through |= {planned.cell.name: ranked for planned in members}
    asked: dict[str, list[tuple[Gate, ...]]] = {}
    gated = []
    for planned in cells:
        gate = through.get(planned.cell.name)
        for name in (*planned.jobs.values(), *planned.shared):
            if name in held:
                asked.setdefault(name, []).append((gate,) if gate is not None else ())
        if gate is not None:
            kinds_held = tuple(kind for kind, name in planned.jobs.items() if name in held)
            shared = tuple(sorted({*planned.shared, gate.job}))
            planned = replace(planned, gate=gate, held=kinds_held, shared=shared)
        gated.append(planned)
    own = {name: of for name, cells_of in asked.items() if (of := union(cells_of))}
    open_jobs = {name: job for name, job in jobs.items() if name not in own}
    return tuple(gated), open_jobs | gates | {name: replace(jobs[name], gates=of) for name, of in own.items()}


def below(jobs: Mapping[str, Job], is_held: Callable[[Job], bool]) -> set[str]:
    """The ids of those that are held back, and of what reads them at whatever distance. `jobs` come after those that
    they depend on."""
    held: set[str] = set()
    for name, job in jobs.items():
        if is_held(job) or held & set(job.depends.values()):
            held.add(name)
    return held


def candidate_groups(
    cells: Iterable[PlannedCell], *, group: Sequence[str], kind: str
) -> dict[str, dict[str, list[PlannedCell]]]:
    """By the group's title its candidates, by name: the cells of one tokenizer, with all its seeds and priors.

    A group is what one data set, and equal values of the facts in `group`, have in common. Cells that share the job of
    that `kind` have the same tokenizer, whatever their labels.
    """
    from .grid import is_prior_axis

    lines: dict[tuple[str, str, str], list[PlannedCell]] = {}
    for planned in cells:
        cell = planned.cell
        axes = {axis: value for axis, value in cell.axes.items() if not is_prior_axis(axis)}
        facts = cell.to_json()
        title = " ".join([cell.data.label, *(f"{name}={_shown(facts[name])}" for name in group)])
        lines.setdefault((title, cell.label, json.dumps(axes, sort_keys=True, default=str)), []).append(planned)
    known: dict[tuple[str, str], list[PlannedCell]] = {}  # candidates, by group and each of their jobs
    for (title, _, _), members in lines.items():
        shared = [known[title, name] for name in sorted(_of_kind(members, kind)) if (title, name) in known]
        others = {id(other): other for other in shared}.values()  # further labels of the same tokenizer
        candidate = [*itertools.chain(*others), *members]
        known |= dict.fromkeys(((title, name) for name in _of_kind(candidate, kind)), candidate)
    groups: dict[str, dict[str, list[PlannedCell]]] = {}
    for (title, _), candidate in known.items():
        name = hashlib.sha256(" ".join(sorted(_of_kind(candidate, kind))).encode()).hexdigest()[:12]
        groups.setdefault(title, {})[name] = candidate
    return groups


def _of_kind(cells: Iterable[PlannedCell], kind: str) -> set[str]:
    return {planned.jobs[kind] for planned in cells}


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) and math.isfinite(value) else str(value)


def _measured(members: Iterable[PlannedCell], held: Collection[str]) -> list[dict[str, Any]]:
    """A candidate's cells, one per latents, with the jobs that are done without priors, as a suite's file has them."""
    from .grid import is_prior_axis

    by_latents: dict[str, dict[str, Any]] = {}
    for planned in members:
        facts = by_latents.setdefault(planned.jobs[LATENTS], planned.to_json() | {"jobs": {}, "prior": None})
        facts["axes"] = {axis: value for axis, value in facts["axes"].items() if not is_prior_axis(axis)}
        facts["jobs"] |= {kind: name for kind, name in planned.jobs.items() if name not in held}
    return list(by_latents.values())


def _gate_job(
    config: GateConfig,
    measured: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    title: str,
    suite: str,
    kinds: Sequence[str],
) -> Job:
    """Its key has what ranks, and the jobs of each candidate; not how many are let through."""
    from .kinds.gate import FITTED, GateJob

    of = {name: sorted({job for cell in cells for job in cell["jobs"].values()}) for name, cells in measured.items()}
    fitted = sorted(config.fitted_jobs().intersection(job for jobs in of.values() for job in jobs))
    return Job(
        kind=GATE,
        config=config.identity() | {"candidates": of},
        versions={f"kind.{GATE}": GateJob.version},
        title=f"{GATE} {title}",
        runtime={"suite": suite, "kinds": list(kinds), "cells": dict(measured)} | ({FITTED: fitted} if fitted else {}),
        on_cpu=True,
        flops=1e6,
        after=tuple(dict.fromkeys(job for jobs in of.values() for job in jobs)),
    )
