"""A run's plan as a file, for those who join it and those who look in (`bench.plan_overview`). Torch-free.

OUT/plans/<suite>.jsonl: a line of facts with the SHA-256 of the others; one with what is to be shown of all jobs; then
a line per job.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from pydantic_core import from_json

from ..results.canonical import compact
from ..results.errors import UserError
from ..results.garbage import no_collections
from ..results.gates import Gate, union
from ..results.record import plain
from ..results.record_file import UPDATE
from ..results.store import Store, atomic_write
from .imports import Import
from .jobs import IDENTITY, Job, key_of
from .plan_overview import CURE, PLANS, SCHEMA, NewerPlan, check_schema, columns, explained, plan_paths, updated

if TYPE_CHECKING:
    from .engines.interface import EngineSettings
    from .plan import Plan

SHARED_SETTINGS = ("checkpoint_seconds", "stall_seconds", "lease_seconds")
_NUMBERS = ("flops", "step_flops", "memory", "on_cpu", "devices")
_TYPES: dict[str, tuple[type, ...]] = {
    "title": (str,),
    "runtime": (dict,),
    "flops": (int, float, type(None)),  # None: more than a number holds
    "step_flops": (int, float, type(None)),
    "memory": (int, float, type(None)),
    "on_cpu": (bool,),
    "devices": (int,),
}
_FIELDS = (*IDENTITY, "title", "runtime", *_NUMBERS)
_WRITTEN = {*_FIELDS, "key"}  # of a job that waits for no more than it depends on
_WAITS: dict[str, Any] = {"after": (), "gates": ()}


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
    """Write the plan. Raises UserError where that is not possible, and where there is one of a newer version."""
    shared = {name: getattr(settings, name) for name in SHARED_SETTINGS}
    name, imports = plan.suite.name, settings.imports
    file = PlanFile(suite=name, jobs=plan.jobs, engine=engine, imports=imports, settings=shared)
    save_plan(settings.store.root, file)


def save_plan(root: Path, plan: PlanFile) -> None:
    """Write the plan's file. Raises UserError as `write_plan` does."""
    shown = columns([_shown(job) for job in plan.jobs.values()])
    lines = [compact(plain(shown)), *map(_line, plan.jobs.values())]
    jobs = "".join(f"{line}\n" for line in lines).encode()
    facts = {
        "schema": SCHEMA,
        "suite": plan.suite,
        "engine": plan.engine,
        "settings": dict(plan.settings),
        "imports": [asdict(item) for item in plan.imports],
        "sha256": hashlib.sha256(jobs).hexdigest(),
    }
    path = root / PLANS / f"{quote(plan.suite, safe=' ')}.jsonl"
    refuse_newer(path)
    atomic_write(path, f"{compact(facts)}\n".encode() + jobs)


def refuse_newer(path: Path) -> None:
    """Raises UserError for a plan's file of a newer version, which nobody may replace who can't read it."""
    try:
        with path.open("rb") as file:
            schema = json.loads(file.readline())["schema"]
    except (OSError, ValueError, LookupError, TypeError):
        return  # there is none in good order
    if isinstance(schema, int) and schema > SCHEMA:
        raise UserError(f"cannot write {path}: schema {schema} is of a newer latentbench; {UPDATE}")


def _shown(job: Job) -> list[Any]:
    gates = [[asdict(gate) for gate in job.gates]] if job.gates else []
    return [job.kind, job.key, job.title, job.flops, sorted(job.depends.values()), *gates]


def _line(job: Job) -> str:
    """The job as JSON that begins with what its key is the hash of: to check the key, that need not be written anew."""
    facts = job_to_json(job)
    identity = {name: facts.pop(name) for name in IDENTITY}
    return f"{compact(identity)[:-1]}{_key_text(facts.pop('key'))},{compact(facts)[1:]}"


def _key_text(key: str) -> str:
    return f',"key":"{key}"'


def read_plans(store: Store) -> list[PlanFile]:
    """The plans of all suites that were run there. Raises UserError for a damaged one, or one of another version."""
    return [read_plan(path) for path in plan_paths(store.root)]


def joined_jobs(plans: Iterable[PlanFile]) -> dict[str, Job]:
    """The jobs of all plans; a gate holds back only what every plan has a gate for."""
    jobs: dict[str, Job] = {}
    for plan in plans:
        for name, job in plan.jobs.items():
            jobs[name] = replace(job, gates=union((jobs[name].gates, job.gates))) if name in jobs else job
    return jobs


def joined_settings(plans: Sequence[PlanFile]) -> dict[str, Any]:
    """Settings with which all of the plans can be worked on: of several the most patient, since who lets others live
    longer takes nothing from them too early."""
    stalls = [plan.settings["stall_seconds"] for plan in plans]
    return {
        "checkpoint_seconds": min(plan.settings["checkpoint_seconds"] for plan in plans),
        "stall_seconds": None if None in stalls else max(stalls),
        "lease_seconds": max(plan.settings["lease_seconds"] for plan in plans),
    }


def joined_imports(plans: Iterable[PlanFile]) -> tuple[Import, ...]:
    """What workers on all of the plans import, each once."""
    return tuple(dict.fromkeys(item for plan in plans for item in plan.imports))


def job_to_json(job: Job) -> Any:
    """Plain data of the job, for another process, perhaps in another folder: its data's path is absolute."""
    facts = {name: getattr(job, name) for name in _FIELDS}
    data = dict(facts["runtime"].get("data", {}))
    if data.get("path"):
        data["path"] = str(Path(data["path"]).expanduser().absolute())
        facts["runtime"] = {**facts["runtime"], "data": data}
    waits = {"after": list(job.after), "gates": [asdict(gate) for gate in job.gates]}
    return plain({**facts, "key": job.key, **{name: value for name, value in waits.items() if value}})


def job_from_json(facts: Mapping[str, Any]) -> Job:
    """The inverse. Raises ValueError for a job whose key is another here."""
    _check_types(facts)
    gates = tuple(Gate(**gate) for gate in facts.get("gates", ()))
    waits: dict[str, Any] = {"after": tuple(facts.get("after", ())), "gates": gates}
    job = Job(**{name: facts[name] for name in _FIELDS if name in facts}, **waits)  # older ones lack some
    if job.key != facts["key"]:
        raise ValueError(f"{job.title} has another key here: another version of latentbench has planned it")
    return job


def _check_types(facts: Mapping[str, Any]) -> None:
    """Raises ValueError for what a job can't be and its key does not tell."""
    for name, types in _TYPES.items():
        if name in facts and type(facts[name]) not in types:
            raise ValueError(f"{name!r} of a job is {facts[name]!r}")


def _written_job(line: bytes, facts: dict[str, Any]) -> Job:
    """As `job_from_json`, of a line and what it says: in a tenth of the time, where `_line` has written it."""
    identity, _, _ = line.partition(_key_text(facts["key"]).encode())
    if facts.keys() != _WRITTEN or key_of(identity + b"}") != facts["key"]:
        return job_from_json(facts)
    _check_types(facts)
    job = object.__new__(Job)  # in the usual way each field takes a call
    facts |= _WAITS
    object.__setattr__(job, "__dict__", facts)
    return job


@no_collections()
def read_plan(path: Path) -> PlanFile:
    """The plan in a file. Raises UserError for a damaged one, or one of another version."""
    try:
        with path.open("rb") as file:
            facts = json.loads(file.readline())
            check_schema(facts["schema"])
            content = file.read()
        if hashlib.sha256(content).hexdigest() != facts["sha256"]:
            raise ValueError("its digest (sha256) is another: damaged, or changed by hand")
        shown, *others = [from_json(line, cache_strings="keys") for line in BytesIO(content)]
        data = updated({**facts, "shown": shown, "jobs": others})
        if data["jobs"] is others and others:  # they are as the lines say
            job_from_json(others[0])  # keys are made here as they were there
            found = map(_written_job, islice(BytesIO(content), 1, None), others)
        else:
            found = map(job_from_json, data["jobs"])
        jobs = {job.id: job for job in found}
        for name in SHARED_SETTINGS:
            optional = (type(None),) if name == "stall_seconds" else ()
            if type(data["settings"][name]) not in (int, float, *optional):
                raise ValueError(f"its setting {name} is {data['settings'][name]!r}")
        return PlanFile(
            suite=unquote(path.stem),
            jobs=jobs,
            engine=data["engine"],
            imports=tuple(Import(**item) for item in data["imports"]),
            settings=data["settings"],
        )
    except NewerPlan as error:
        raise UserError(f"{path}: {error}; {UPDATE}") from None
    except OSError as error:
        reason = error.strerror or str(error)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        reason = explained(error)
    raise UserError(f"{path}: not a plan: {reason}; {CURE}")
