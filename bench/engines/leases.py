"""The lease engine: the jobs of one output folder on any number of machines that share it. Torch-free.

A job is taken by making the file `lease-N` in its folder, which states who took it: a hard link, made by one of several
at once and by no two, on network disks too. Whoever finds a lease of somebody dead (see `heartbeat`) makes the next,
`lease-N+1`; the highest one counts. So no lease is ever removed by those who are not sure that it is theirs.
"""

from __future__ import annotations

import json
import os
import platform
import re
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...results.activity import BEAT, NEW_STATE, STATE
from ...results.errors import UserError
from ...results.record import Failure, Record
from ...results.record_file import UPDATE
from ...results.store import RECORD, Store, atomic_create
from ..hardware import Machine
from ..jobs import Job
from ..signals import interrupts_ignored
from ..worker_protocol import LEASE, clean_attempt
from .claims import Claims
from .client import Server
from .heartbeat import Heartbeat, Observer
from .interface import Event
from .local import LocalEngine, Scheduler, failed_record

_NUMBERED = re.compile(rf"{LEASE}([1-9][0-9]{{0,8}})")
MOST_LEASES = 10  # of one job, each of a process that died: then the job is what kills them
_LOOK_SECONDS = 1.0  # between two looks at a job that others have
_LOST = "this process gave no sign of life for too long (it was stopped, or its disk hung); it joins again"
_RETRY_SECONDS = 3.0  # between two looks at whether a failure has been forgotten
_SCAN_SHARE = 50.0  # looking at all jobs takes at most one in so many seconds
_LAST_SHARE = 0.4  # of the time after which others take over: from when our jobs should have ended to when they must


class LeaseLostError(RuntimeError):
    """This process gave no sign of life for too long: others may do its jobs."""


def leases(folder: Path) -> dict[int, Path]:
    """The leases of the job in `folder`, by number; the highest counts. Raises UserError where it can't be read."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror or error}") from None
    return {int(match[1]): folder / name for name in names if (match := _NUMBERED.fullmatch(name))}


def _remove(path: Path) -> None:
    with suppress(OSError):  # a disk that turned read-only: without our signs of life a lease means nothing soon
        path.unlink(missing_ok=True)


def holder(lease: Path) -> str | None:
    """The name of who has taken the lease; "" while it is being written, None where it can't be read (any more)."""
    try:
        return lease.read_text().strip()
    except OSError:
        return None
    except ValueError:
        return ""


@dataclass(kw_only=True)
class LeaseClaims(Claims):
    """The jobs that this process has taken in `store`, and what it knows of those that others have."""

    store: Store
    machine: Machine
    expiry: float
    held: dict[str, Path] = field(default_factory=dict)
    running: dict[str, dict[str, Any]] = field(default_factory=dict)
    others: dict[str, float] = field(default_factory=dict)  # when to look again
    unswept: dict[str, Job] = field(default_factory=dict)  # done, with a lease of somebody who lived then
    server: Server | None = None
    since: float = field(default_factory=time.time)
    _next_look: float = 0.0
    _next_scan: float = 0.0
    _next_retry: float = 0.0
    _gone: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.observer = Observer(root=self.store.root, expiry=self.expiry)
        self.heartbeat = Heartbeat(self.store.root, expiry=self.expiry, renewed=self._renewed, lost=self._lost)

    def open(self) -> None:
        """Begin to give signs of life. Raises UserError where the folder can't be written to."""
        self.heartbeat.start()
        self.descriptors = (self.heartbeat.descriptor,)
        self._tell()

    def close(self) -> None:
        """Give back what is left. Nothing of ours runs any more."""
        with suppress(LeaseLostError):
            self.keep({})
        with suppress(UserError):
            self._sweep()
        self.heartbeat.stop()
        for beat in self.heartbeat.path.parent.glob(f"*{BEAT}"):
            self.observer.alive(beat.stem)  # which removes what a dead one of this machine has left

    def guard(self, server: Server) -> None:
        """See `Claims`. The server ends its jobs by itself when this process stands still."""
        self.server = server
        self._renewed(self.heartbeat.allowed)

    def check(self) -> None:
        """See `Claims`. Raises LeaseLostError."""
        if not self.heartbeat.check():
            raise LeaseLostError

    def _renewed(self, allowed: float) -> None:
        if self.server is not None:
            with suppress(ValueError):  # it has been closed
                self.server.allow_until(allowed, allowed + _LAST_SHARE * self.expiry)

    def _lost(self) -> None:
        if self.server is not None:
            self.server.process.kill()  # its jobs die with it

    def take(self, job: Job, *, device: str) -> bool:
        """See `Claims`."""
        now = time.monotonic()
        if self.others.get(job.id, 0.0) > now:
            return False
        self.check()
        self.others[job.id] = now + _LOOK_SECONDS
        folder = self.store.job_folder(job.kind, job.key)
        current = leases(folder)
        number = max(current, default=0)
        if number:
            if self._lives(current[number]):
                return False
        elif self._done(job):
            return False
        lease = folder / f"{LEASE}{number + 1}"
        if not self._create(lease):
            return False
        # It may be an old number: others took this job, and perhaps did it, since we looked.
        present = (folder / RECORD).exists()
        if max(leases(folder), default=0) > number + 1 or self._done(job) or self._is_fatal(job, number):
            _remove(lease)
            return False
        if present:  # a damaged one, which would keep a new one away
            if self.store.is_newer(job.kind, job.key):
                _remove(lease)
                raise UserError(f"{folder / RECORD}: is of a newer latentbench, which works here too; {UPDATE}")
            _remove(folder / RECORD)
        for old in current.values():
            _remove(old)
        del self.others[job.id]
        self.held[job.id] = lease
        self.running[job.id] = {"device": device, "since": time.time()}
        self._tell()
        return True

    def _lives(self, lease: Path) -> bool:
        """Whether who has taken the lease is alive, or may be."""
        name = holder(lease)
        return name is None or (self.observer.alive(name) if name else self.observer.filled(lease))

    def elsewhere(self, job: Job) -> bool:
        """See `Claims`."""
        if self.others.get(job.id, 0.0) > time.monotonic():
            return True
        current = leases(self.store.job_folder(job.kind, job.key))
        return bool(current) and self._lives(current[max(current)])

    def _create(self, lease: Path) -> bool:
        """Make the lease; False where somebody was faster. Raises UserError."""
        try:
            return atomic_create(lease, f"{self.heartbeat.name}\n".encode())
        except UserError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            # Who has the job clears its folder of temporary files: ours went, before it was linked or right after.
            return holder(lease) == self.heartbeat.name

    def _done(self, job: Job) -> bool:
        return self.store.outcome(job.kind, job.key) is not None

    def _is_fatal(self, job: Job, deaths: int) -> bool:
        """Whether whoever takes the job dies: the record of its failure says so."""
        if deaths < MOST_LEASES:
            return False
        message = f"the {deaths} processes that ran it, one after the other, were killed with all their jobs"
        self.store.save(failed_record(job, Failure(type="WorkerDied", message=message)), replace=False)
        return True

    def lease(self, job: Job) -> str:
        """See `Claims`."""
        return str(self.held[job.id])

    def keep(self, running: Mapping[str, Any]) -> None:
        """See `Claims`. Raises LeaseLostError."""
        over = self.held.keys() - running.keys()
        if running or over:
            self.check()
        for name in over:
            _remove(self.held.pop(name))
            del self.running[name]
        if over:
            self._tell()

    def ended(self, waiting: Mapping[str, Job]) -> Iterator[tuple[str, Record]]:
        """See `Claims`. Jobs that others were seen to have are looked at often, all others now and then."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_SECONDS
        scan = now >= self._next_scan
        for name, job in list(waiting.items()):
            if not (scan or name in self.others) or any(needed in waiting for needed in job.waits):
                continue
            if not (self.store.job_folder(job.kind, job.key) / RECORD).exists():
                continue
            record = self.store.outcome(job.kind, job.key)
            if record is not None:
                self.others.pop(name, None)
                self.unswept[name] = job
                yield name, record
        self._sweep()
        if scan:
            self._next_scan = time.monotonic() + max(5.0, _SCAN_SHARE * (time.monotonic() - now))

    def retried(self, ended: Mapping[str, Job], *, last: bool) -> set[str]:
        """See `Claims`. Those whose records somebody has removed: seen twice, since a disk may be late."""
        now = time.monotonic()
        if now < self._next_retry and not last:
            return set()
        self._next_retry = now + _RETRY_SECONDS
        before, self._gone = (
            self._gone,
            {name for name, job in ended.items() if not (self.store.job_folder(job.kind, job.key) / RECORD).exists()},
        )
        asked = self._gone if last else self._gone & before
        self._gone = self._gone - asked
        return asked

    def pause(self) -> None:
        """See `Claims`."""
        time.sleep(0.1)

    def _sweep(self) -> None:
        """Remove the leases of those who have died after their job's record was written, perhaps after we saw it, and
        what else they left."""
        for job in list(self.unswept.values()):
            folder = self.store.job_folder(job.kind, job.key)
            left = leases(folder)
            holders = {lease: holder(lease) for lease in left.values()}
            dead = [lease for lease, name in holders.items() if name and not self.observer.alive(name)]
            if dead and len(dead) == len(left):
                record = self.store.outcome(job.kind, job.key)
                if record is not None and record.status == "finished":
                    clean_attempt(folder, shared=True)
            for lease in dead:
                _remove(lease)
            if not left:
                del self.unswept[job.id]

    def _tell(self) -> None:
        """Say what runs here, for those who look: see `results.activity.Member`."""
        devices = {device.name: device.units for device in self.machine.devices}
        state = {"host": platform.node(), "pid": os.getpid(), "since": self.since, "devices": devices}
        path = self.heartbeat.path.with_suffix(STATE)
        with suppress(OSError):
            temporary = self.heartbeat.path.with_suffix(NEW_STATE)
            temporary.write_text(json.dumps(state | {"running": self.running}))
            os.replace(temporary, path)


class LeaseEngine(LocalEngine):
    """Jobs as processes of this machine, together with whoever else works on the folder: `latentbench work DIR`."""

    shares = True

    def run(self, jobs: Mapping[str, Job]) -> Generator[Event, None, None]:
        """See `Engine.run`. Jobs that others have done are reported like our own."""
        waiting, finished = dict(jobs), dict(self.finished)
        failed: set[str] = set()
        given_up: dict[str, tuple[Job, str]] = {}
        while waiting:
            claims = LeaseClaims(store=self.settings.store, machine=self.machine, expiry=self.settings.lease_seconds)
            claims.open()
            try:
                scheduler = Scheduler(self.settings, self.machine, waiting, finished, claims)
            except BaseException:
                claims.close()
                raise
            scheduler.failed, scheduler.given_up = failed, given_up
            lost: dict[str, Job] = {}
            try:
                yield from scheduler.events()
            except LeaseLostError:
                lost = _end_all(scheduler)
            finally:
                with interrupts_ignored():
                    scheduler.close()
                    claims.close()
            waiting = {**lost, **scheduler.waiting}
            for name in lost:
                yield Event(kind="retried", job=name, message=_LOST)


def _end_all(scheduler: Scheduler) -> dict[str, Job]:
    """End what runs here, and return it: this process was taken for dead, and others may have its jobs."""
    scheduler.server.process.kill()
    running, scheduler.running = scheduler.running, {}
    return {name: run.job for name, run in running.items()}
