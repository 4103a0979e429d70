"""A run's plan as a file, for those who join it and those who look in. Torch-free.

OUT/plans/<suite>.jsonl: a line of facts with the SHA-256 of the others, then a line per job.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from ..results.canonical import compact
from ..results.errors import UserError
from ..results.record import plain
from ..results.store import Store, atomic_write
from .engines.interface import EngineSettings
from .imports import Import
from .jobs import Job
from .plan import Plan

PLANS = "plans"
SCHEMA = 1
_FIELDS = ("kind", "config", "versions", "depends", "title", "runtime", "flops", "step_flops", "memory")


@dataclass(frozen=True, kw_only=True)
class PlanFile:
    """What a run of `suite` has to do, and how: its `jobs`, each after those it depends on, the name of its `engine`,
    the `imports` of its workers, and the settings of `EngineSettings` that all who work on it share."""

    suite: str
    jobs: Mapping[str, Job]
    engine: str
    imports: tuple[Import, ...]
    settings: Mapping[str, Any]


def write_plan(plan: Plan, engine: str, settings: EngineSettings) -> None:
    """Write the plan. Raises UserError where that is not possible."""
    names = ("checkpoint_seconds", "stall_seconds", "lease_seconds")
    jobs = "".join(f"{compact(_plain(job))}\n" for job in plan.jobs.values()).encode()
    facts = {
        "schema": SCHEMA,
        "suite": plan.suite.name,
        "engine": engine,
        "settings": {name: getattr(settings, name) for name in names},
        "imports": [asdict(item) for item in settings.imports],
        "sha256": hashlib.sha256(jobs).hexdigest(),
    }
    path = settings.store.root / PLANS / f"{quote(plan.suite.name, safe=' ')}.jsonl"
    atomic_write(path, f"{compact(facts)}\n".encode() + jobs)


def read_plans(store: Store) -> list[PlanFile]:
    """The plans of all suites that were run there. Raises UserError for a damaged one, or one of another version."""
    try:
        paths = sorted(path for path in (store.root / PLANS).iterdir() if path.suffix == ".jsonl")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"cannot read {store.root / PLANS}: {error.strerror or error}") from None
    return [_read(path) for path in paths]


def _plain(job: Job) -> Any:
    facts = {name: getattr(job, name) for name in _FIELDS}
    data = dict(facts["runtime"].get("data", {}))
    if data.get("path"):  # another process may be in another folder
        data["path"] = str(Path(data["path"]).expanduser().absolute())
        facts["runtime"] = {**facts["runtime"], "data": data}
    return plain({**facts, "key": job.key})


def _read(path: Path) -> PlanFile:
    cure = "the same `latentbench run` writes it anew"
    try:
        first, _, lines = path.read_bytes().partition(b"\n")
        data = json.loads(first)
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']} is not this version's, {SCHEMA}")
        if hashlib.sha256(lines).hexdigest() != data["sha256"]:
            raise ValueError("its digest (sha256) is another: damaged, or changed by hand")
        jobs = {}
        for facts in map(json.loads, lines.splitlines()):
            job = Job(**{name: facts[name] for name in _FIELDS})
            if job.key != facts["key"]:
                raise ValueError(f"{job.title} has another key here: another version of latentbench has planned it")
            jobs[job.id] = job
        return PlanFile(
            suite=unquote(path.stem),
            jobs=jobs,
            engine=data["engine"],
            imports=tuple(Import(**item) for item in data["imports"]),
            settings=data["settings"],
        )
    except OSError as error:
        reason = error.strerror or str(error)
    except (ValueError, KeyError, TypeError) as error:
        reason = str(error)
    raise UserError(f"{path}: not a plan: {reason}; {cure}")
