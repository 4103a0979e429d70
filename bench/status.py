"""What has become of a run's jobs: finished, failed, running, waiting; at what cost so far, and how long it will take.

Torch-free, and without the runs' help: it reads what they leave in the folder. What takes long to import is imported
where it is needed: of 100,000 jobs that have ended all is told in a second.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..results.activity import BEAT, WORKERS, Member, active, active_since, disk_time, last_log, started_since
from ..results.ended import Ended, look, remembered
from ..results.errors import UserError, unknown
from ..results.garbage import no_collections
from ..results.record_file import CANCELLED, RECORD
from .forecast import AtWork, Forecast
from .plan_overview import Planned, plan_paths, read_overview


@dataclass(frozen=True, kw_only=True)
class Running:
    """A job at work: where, since when its attempt began (seconds since 1970, by the disk's clock) and how many
    `seconds` ago that is, and `done` of `total` steps with a word of its own; `first` of them were done when this
    attempt had its first, `pace_seconds` ago: by earlier attempts."""

    job: str
    title: str
    host: str
    device: str
    since: float
    done: int = 0
    total: int = 0
    message: str = ""
    seconds: float = 0.0
    first: int = 0
    pace_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Status:
    """A folder's jobs. `failed` has causes, also of those that were `cancelled`, which `cancelled_jobs` has alone;
    `skipped` wait for something failed, `left_out` are those that no gate lets through, by the reason, `devices`
    are {host: {device: jobs at a time}}, `seconds` what finished and failed jobs have taken together in their last
    attempts, `running_seconds` what those at work have so far, `left` a forecast (None: too early), `note` what is
    to be said of how all this is known. `unread` are the records that can't be read, by job: "damaged" ones, whose
    jobs are done again, and "newer" ones, of a newer version, which are kept; each with its file and the cause."""

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
    newer: int = 0
    cancelled_jobs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    running_seconds: float = 0.0
    note: str = ""
    unread: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@no_collections()
def status(root: Path) -> Status:
    """What there is to know now. Raises UserError for a folder without a run."""
    planned = jobs_of(root)
    ended = _ended(root, planned)
    # All of the jobs have ended when a run has: no set of 100,000 is needed then.
    has_ended: Container[str] = planned if len(ended.jobs) == len(planned) else set(ended.jobs)
    now, note = _disk_time(root)
    members = active(root, now=now)
    running = _running(root, planned, has_ended, members, now)
    by = Counter(ended.statuses)
    causes = zip(ended.jobs, ended.statuses, ended.causes, strict=True)
    failed = {job: cause for job, status, cause in causes if status == "failed"}
    open_jobs: Iterable[str] = () if has_ended is planned else planned
    waiting = [job for job in open_jobs if job not in has_ended and job not in running]
    skipped = _below(planned, failed, waiting)
    reasons = _left_out(root, {job: planned[job] for job in waiting if job not in skipped}, ended)
    waiting = [job for job in waiting if job not in reasons]
    seconds: dict[str, float] = {}
    for job, taken in zip(ended.jobs, ended.seconds, strict=True):
        kind = job.partition("/")[0]
        seconds[kind] = seconds.get(kind, 0.0) + taken
    devices = {member.host: dict(member.devices) for member in members}
    units = {host: {name: of[name] for name in of if name != "cpu"} or of for host, of in devices.items()}
    parallel = sum(sum(of.values()) for of in units.values()) or len(running) or 1
    told = {
        job: {"title": planned[job].title, "cause": cause, "log": str(last_log(_folder(root, job)) or "")}
        for job, cause in failed.items()
    }
    cancelled = {job: facts for job, facts in told.items() if facts["cause"].startswith(f"{CANCELLED}: ")}
    return Status(
        root=str(root),
        jobs=len(planned),
        finished=by["finished"],
        damaged=by["damaged"],
        waiting=len(waiting) - len(skipped),
        skipped=len(skipped),
        cancelled=len(cancelled),
        cancelled_jobs=cancelled,
        running=tuple(running.values()),
        failed=told,
        devices=devices,
        seconds=sum(seconds.values()),
        seconds_by_kind=seconds,
        left_out=dict(Counter(reasons.values())),
        newer=by["newer"],
        unread=_unread(root, planned, ended),
        running_seconds=sum(run.seconds for run in running.values()),
        note=note if members or running else "",
        left=_left(planned, ended, [job for job in waiting if job not in skipped], running, parallel),
    )


def _unread(root: Path, planned: Mapping[str, Planned], ended: Ended) -> dict[str, dict[str, str]]:
    unread = {}
    if {*ended.statuses} <= {"finished", "failed"}:
        return {}
    for job, status, cause in zip(ended.jobs, ended.statuses, ended.causes, strict=True):
        if status in ("damaged", "newer"):
            record = str(_folder(root, job) / RECORD)
            unread[job] = {"title": planned[job].title, "status": status, "cause": cause, "record": record}
    return unread


def jobs_of(root: Path) -> Mapping[str, Planned]:
    """All jobs that were planned in the folder, by id. Raises UserError for a folder without a plan."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; expected the --out folder of a run")
    planned: Mapping[str, Planned] = read_overview(root)
    if _has_more_in_suites(root):
        planned = {**_of_suites(root), **planned}
    if not planned:
        raise UserError(f"{root}: no run has been planned here; expected the --out folder of a run")
    return planned


def _has_more_in_suites(root: Path) -> bool:
    """Whether a suite may have jobs that no plan has: of a version before plans were kept, or merged with such a one.
    Else its plan was written after it."""
    try:
        plans = {path.stem: path.stat().st_mtime_ns for path in plan_paths(root)}
        suites = [path for path in (root / "suites").iterdir() if path.suffix == ".json"]
        return any(path.stat().st_mtime_ns > plans.get(path.stem, -1) for path in suites)
    except OSError:
        return False


def _of_suites(root: Path) -> dict[str, Planned]:
    from ..results.store import Store

    planned: dict[str, Planned] = {}
    for suite in Store(root).read_suites():
        for cell in suite["cells"]:
            for job in (*cell.get("shared", ()), *cell["jobs"].values()):
                kind, _, key = job.partition("/")
                planned.setdefault(job, Planned(kind=kind, key=key, title=f"{kind} {cell['cell']}"))
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


def _folder(root: Path, job: str) -> Path:
    """As `Store.job_folder`."""
    return Path(root, "jobs", *job.split("/", 1))


def _ended(root: Path, planned: Iterable[str]) -> Ended:
    """Those of the jobs that have a record, and how they ended; whether their artifacts are there is not looked at."""
    known = remembered(root)
    ended, fresh = look(root, planned, known)
    if fresh:
        from ..results.index import read_fresh
        from ..results.store import Store

        read_fresh(Store(root), ended, fresh, known=len(known.jobs))
    return ended


def _disk_time(root: Path) -> tuple[float, str]:
    """The time by which signs of life are judged, and what is to be said of it."""
    if active_since(root) is None and not any((root / WORKERS).glob(f"*{BEAT}")):
        return time.time(), ""  # nobody is at work: nothing is written for it
    now = disk_time(root / WORKERS) or disk_time(root)
    if now is None:
        return time.time(), f"{root} can't be written to: times are judged by this machine's clock"
    return now, ""


def _left_out(root: Path, waiting: Mapping[str, Planned], ended: Ended) -> dict[str, str]:
    """As `gates.left_out`."""
    if not any(job.gates for job in waiting.values()):
        return {}
    from ..results.store import Store
    from .gates import left_out

    finished = {job for job, status in zip(ended.jobs, ended.statuses, strict=True) if status == "finished"}
    return left_out(waiting, finished, Store(root))


def _running(
    root: Path, planned: Mapping[str, Planned], ended: Container[str], members: Sequence[Member], now: float
) -> dict[str, Running]:
    running: dict[str, Running] = {}
    for member in members:
        for job, facts in member.running.items():
            if job in planned and job not in ended:
                device, since = str(facts["device"]), float(facts["since"])
                running[job] = _at_work(root, planned[job], since, now, host=member.host, device=device)
    began = None if members else active_since(root)
    if began is not None:
        for job in _with_folder(root, (job for job in planned if job not in ended)):
            if started_since(_folder(root, job), began):
                running[job] = _at_work(root, planned[job], began, now)
    return running


def _with_folder(root: Path, jobs: Iterable[str]) -> list[str]:
    """Those of the jobs that have a folder: a look into each that has none would take longer."""
    names: dict[str, set[str]] = {}
    existing = []
    for job in jobs:
        kind, _, key = job.partition("/")
        if kind not in names:
            try:
                names[kind] = set(os.listdir(root / "jobs" / kind))
            except (OSError, ValueError):
                names[kind] = set()
        if key in names[kind]:
            existing.append(job)
    return existing


def _at_work(root: Path, planned: Planned, since: float, now: float, *, host: str = "", device: str = "") -> Running:
    """`since` counts for an attempt that has written nothing yet: by the clock of who began it."""
    from .worker_protocol import attempt_since, read_began, read_progress

    folder = _folder(root, planned.id)
    done, total, message = read_progress(folder) or (0, 0, "")
    since = attempt_since(folder) or since
    first, of, began = read_began(folder) or (done, total, now)
    if of != total:  # between two passes
        first, began = done, now
    return Running(
        job=planned.id,
        title=planned.title,
        host=host,
        device=device,
        since=since,
        done=done,
        total=total,
        message=message,
        seconds=max(now - since, 0.0),
        first=min(first, done),
        pace_seconds=max(now - began, 0.0),
    )


def _below(planned: Mapping[str, Planned], failed: Iterable[str], waiting: Iterable[str]) -> set[str]:
    """Those of the waiting jobs, each after those it needs, that need one of the failed ones at whatever distance. What
    was done before another attempt failed is done, and what needs it alone can be."""
    gone = set(failed)
    skipped = set()
    for job in waiting:
        at = planned[job]
        if any(needed in gone for needed in at.depends) or (at.gates and all(g.job in gone for g in at.gates)):
            gone.add(job)
            skipped.add(job)
    return skipped


def _left(
    planned: Mapping[str, Planned],
    ended: Ended,
    waiting: Collection[str],
    running: Mapping[str, Running],
    parallel: int,
) -> float | None:
    if not waiting and not running:
        return 0.0
    forecast = Forecast()
    for job, status, seconds in zip(ended.jobs, ended.statuses, ended.seconds, strict=True):
        if status == "finished":
            forecast.finished(planned[job], seconds)
    at_work = []
    for job, run in running.items():
        share, resumed = (min(at / run.total, 1.0) if run.total > 0 else 0.0 for at in (run.done, run.first))
        elapsed = run.pace_seconds if share > resumed else run.seconds
        at_work.append(AtWork(planned[job], elapsed, share, resumed))
    left = {job: planned[job] for job in waiting}
    if any(job.gates for job in left.values()):
        from .gates import at_most

        left = at_most(left)
    return forecast.left(left.values(), at_work, parallel=parallel)


def to_json(status: Status) -> dict[str, Any]:
    """For programs: as the class has it."""
    from dataclasses import asdict

    return asdict(status)
