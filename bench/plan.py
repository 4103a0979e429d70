"""From cells to jobs: what has to be computed, what is shared, what it will take. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..results.gates import GATE, HALVING
from .bounds import check_bounds
from .datasets.labels import class_count
from .gates import with_gates
from .grid import cells
from .halving import with_halving
from .job_files import FILES, by_content
from .jobs import Job
from .kinds import KINDS, kinds
from .kinds.base import CONTRACT, PlanContext
from .planned_cell import PlannedCell
from .suite import Suite


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Cells and the jobs they need, each job once, every job after those it depends on; and `warnings`, a line each, of
    what this machine may not be able to do."""

    suite: Suite
    cells: tuple[PlannedCell, ...]
    jobs: Mapping[str, Job]
    warnings: tuple[str, ...] = ()


def make_plan(
    suite: Suite, fingerprints: Mapping[str, str], counts: Mapping[str, tuple[int, int]] | None = None
) -> Plan:
    """The plan of `suite`; `fingerprints` by data set label ("" where unknown: for looking, not for running).

    `counts` are the training and validation samples by label where they are known: what jobs take is predicted from
    them.

    Raises UserError for anything that would fail later: impossible points, unknown nets or proxies, absent weights.
    """
    class_count.cache_clear()  # files may have changed since another plan
    points = cells(suite)
    warnings = check_bounds(suite, points)
    for kind in kinds():
        kind.check(suite, points)
    jobs: dict[str, Job] = {}
    shared: dict[tuple[Any, ...], Job] = {}
    planned = []
    for cell in points:
        own = _CellJobs(plan=jobs, shared=shared)
        at = PlanContext(
            suite=suite,
            data=cell.data,
            fingerprint=fingerprints.get(cell.data.label, ""),
            known_counts=(counts or {}).get(cell.data.label),
            add=own.add,
            chosen_cell=cell,
        )
        checked = (CONTRACT,) if cell.tokenizer.adapter is not None else ()
        for name in ("tokenizer", *checked, *(kind.name for kind in kinds() if kind.name in cell.tasks)):
            at.need(name)
        ids = {"data": at.need("data"), **{name: job.id for (name, _), job in own.jobs.items()}}
        prior = at.prior if "prior" in ids else None
        planned.append(PlannedCell(cell=cell, jobs=ids, prior=prior, shared=_shared(jobs, ids.values())))
    gate = suite.options[GATE]
    if gate.is_on:
        names = [kind.name for kind in kinds()]
        gated, jobs = with_gates(gate, planned, jobs, suite=suite.name, kinds=names)
        return Plan(suite=suite, cells=gated, jobs=jobs, warnings=warnings)
    halving = suite.options[HALVING]
    if halving.is_on:
        halved, jobs = with_halving(halving, planned, jobs, evaluation=suite.evaluation.identity())
        return Plan(suite=suite, cells=halved, jobs=jobs, warnings=warnings)
    return Plan(suite=suite, cells=tuple(planned), jobs=jobs, warnings=warnings)


def _shared(jobs: Mapping[str, Job], own: Iterable[str]) -> tuple[str, ...]:
    """The jobs beside `own` that these depend on, directly or not."""
    own, waiting = set(own), list(own)
    reached: set[str] = set()
    while waiting:
        for needed in jobs[waiting.pop()].depends.values():
            if needed not in reached:
                reached.add(needed)
                waiting.append(needed)
    return tuple(sorted(reached - own))


@dataclass(frozen=True, kw_only=True)
class _CellJobs:
    """The jobs of one cell, each worked out once; the `shared` ones are those of all cells of a data set."""

    plan: dict[str, Job]
    shared: dict[tuple[Any, ...], Job]
    jobs: dict[tuple[Any, ...], Job] = field(default_factory=dict)

    def add(self, name: str, at: PlanContext) -> Job:
        """The job of the kind `name` at this place, in the plan behind those it needs."""
        kind = KINDS.get(name)()
        choice = tuple(sorted(at.choice.items()))
        known, key = (self.shared, (name, at.data.label, choice)) if kind.shared else (self.jobs, (name, choice))
        if key not in known:
            if kind.shared:
                at = replace(at, chosen_cell=None)
            depends = kind.needs(at)
            config, files = by_content(kind.identity(at))
            for needed in depends.values():  # whose configurations this job reads
                files |= self.plan[needed].runtime.get(FILES, {})
            job = Job(
                kind=name,
                config=config,
                versions=kind.versions(at),
                depends=depends,
                title=kind.title(at),
                runtime={"data": at.data.to_json()} | kind.runtime(at) | ({FILES: files} if files else {}),
                **asdict(kind.price(at)),
            )
            known[key] = self.plan.setdefault(job.id, job)
        return known[key]
