"""What has become of a run's jobs: finished, failed, running, waiting; at what cost so far, and how long it will take.

Torch-free, and without the runs' help: it reads what they leave in the folder.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..results.activity import active, active_since, last_log, started_since
from ..results.errors import UserError, unknown
from ..results.index import State, no_collections, states
from ..results.store import Store
from .forecast import Forecast
from .gates import at_most, left_out
from .plan_file import Planned, read_overview
from .worker_protocol import read_progress


@dataclass(frozen=True, kw_only=True)
class Running:
    """A job at work: where, since when (seconds since 1970), and `done` of `total` steps with a word of its own."""

    job: str
    title: str
    host: str
    device: str
    since: float
    done: int = 0
    total: int = 0
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Status:
    """A folder's jobs. `failed` has causes, `skipped` wait for something failed, `left_out` are those that no gate lets
    through, by the reason, `devices` are {host: {device: jobs at a time}}, `seconds` what finished and failed jobs have
    taken together, `left` a forecast (None: too early)."""

    root: str
    jobs: int
    finished: int
    waiting: int
    cancelled: int
    skipped: int
    damaged: int
    running: tuple[Running, ...]
    failed: Mapping[str, Mapping[str, str]]
    devices: Mapping[str, Mapping[str, int]]
    seconds: float
    seconds_by_kind: Mapping[str, float] = field(default_factory=dict)
    left: float | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)


@no_collections()
def status(root: Path) -> Status:
    """What there is to know now. Raises UserError for a folder without a run."""
    store, planned = Store(root), jobs_of(root)
    ended = states(store, planned)
    members = active(root)
    running = _running(store, planned, ended)
    by = Counter(state.status for state in ended.values())
    failed = {job: state for job, state in ended.items() if state.status == "failed"}
    waiting = [job for job in planned if job not in ended and job not in running]
    skipped = _below(planned, failed, waiting)
    finished = {job for job, state in ended.items() if state.status == "finished"}
    reasons = left_out({job: planned[job] for job in waiting if job not in skipped}, finished, store)
    waiting = [job for job in waiting if job not in reasons]
    seconds: dict[str, float] = {}
    for job, state in ended.items():
        kind = planned[job].kind
        seconds[kind] = seconds.get(kind, 0.0) + state.seconds
    devices = {member.host: dict(member.devices) for member in members}
    units = {host: {name: of[name] for name in of if name != "cpu"} or of for host, of in devices.items()}
    parallel = sum(sum(of.values()) for of in units.values()) or len(running) or 1
    return Status(
        root=str(root),
        jobs=len(planned),
        finished=by["finished"],
        damaged=by["damaged"],
        waiting=len(waiting) - len(skipped),
        skipped=len(skipped),
        cancelled=sum("Cancelled: " in state.cause[:11] for state in failed.values()),
        running=tuple(running.values()),
        failed={
            job: {"title": planned[job].title, "cause": state.cause, "log": str(last_log(_folder(store, job)) or "")}
            for job, state in failed.items()
        },
        devices=devices,
        seconds=sum(seconds.values()),
        seconds_by_kind=seconds,
        left_out=dict(Counter(reasons.values())),
        left=_left(planned, ended, [job for job in waiting if job not in skipped], running, parallel),
    )


def jobs_of(root: Path) -> dict[str, Planned]:
    """All jobs that were planned in the folder, by id. Raises UserError for a folder without a plan."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; expected the --out folder of a run")
    planned = read_overview(Store(root))
    if planned:
        return planned
    # Folders of versions before plans were kept: their suites name the jobs.
    for suite in Store(root).read_suites():
        for cell in suite["cells"]:
            for job in (*cell.get("shared", ()), *cell["jobs"].values()):
                kind, _, key = job.partition("/")
                planned.setdefault(job, Planned(kind=kind, key=key, title=f"{kind} {cell['cell']}"))
    if not planned:
        raise UserError(f"{root}: no run has been planned here; expected the --out folder of a run")
    return planned


def find(root: Path, name: str) -> Planned:
    """The job that `name` means: its id, its key, the beginning of one, or its title. Raises UserError where that is
    none, or several."""
    planned = jobs_of(root)
    if name in planned:
        return planned[name]
    matches = [p for p in planned.values() if name and (p.key.startswith(name) or p.id.startswith(name))]
    matches = matches or [p for p in planned.values() if p.title == name]
    matches = matches or [p for p in planned.values() if name and name in p.title]
    if len(matches) == 1:
        return matches[0]
    if matches:
        few = "; ".join(f"{p.id} ({p.title})" for p in matches[:3])
        raise UserError(f"{name!r} means {len(matches)} jobs: {few}{'; ...' if len(matches) > 3 else ''}")
    raise unknown("job", name, [*planned, *(p.title for p in planned.values())][:20000], where=str(root))


def _folder(store: Store, job: str) -> Path:
    kind, _, key = job.partition("/")
    return store.job_folder(kind, key)


def _running(store: Store, planned: Mapping[str, Planned], ended: Mapping[str, State]) -> dict[str, Running]:
    running: dict[str, Running] = {}
    members = active(store.root)
    for member in members:
        for job, facts in member.running.items():
            if job in planned and job not in ended:
                running[job] = _at_work(store, planned[job], member.host, str(facts["device"]), float(facts["since"]))
    since = None if members else active_since(store.root)
    if since is not None:
        for job, facts in planned.items():
            if job not in ended and started_since(_folder(store, job), since):
                running[job] = _at_work(store, facts, "", "", since)
    return running


def _at_work(store: Store, planned: Planned, host: str, device: str, since: float) -> Running:
    done, total, message = read_progress(store.job_folder(planned.kind, planned.key)) or (0, 0, "")
    return Running(
        job=planned.id,
        title=planned.title,
        host=host,
        device=device,
        since=since,
        done=done,
        total=total,
        message=message,
    )


def _below(planned: Mapping[str, Planned], failed: Iterable[str], waiting: Iterable[str]) -> set[str]:
    """Those of the waiting jobs, each after those it needs, that need one of the failed ones at whatever distance. What
    was done before another attempt failed is done, and what needs it alone can be."""
    gone = set(failed)
    skipped = set()
    for job in waiting:
        gates = planned[job].gates
        if any(needed in gone for needed in planned[job].depends) or (gates and all(g.job in gone for g in gates)):
            gone.add(job)
            skipped.add(job)
    return skipped


def _left(
    planned: Mapping[str, Planned],
    ended: Mapping[str, State],
    waiting: Iterable[str],
    running: Mapping[str, Running],
    parallel: int,
) -> float | None:
    forecast = Forecast()
    for job, state in ended.items():
        if state.status == "finished":
            forecast.finished(planned[job], state.seconds)
    now = time.time()
    at_work = [
        (planned[job], max(now - run.since, 0.0), run.done / run.total if run.total else 0.0)
        for job, run in running.items()
    ]
    most = at_most({job: planned[job] for job in waiting})
    return forecast.left(most.values(), at_work, parallel=parallel)


def to_json(status: Status) -> dict[str, Any]:
    """For programs: as the class has it."""
    from dataclasses import asdict

    return asdict(status)
