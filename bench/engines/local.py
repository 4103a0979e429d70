"""The local engine: a process per job on device slots, forked from a server that has torch imported. Torch-free.

Determinism does not depend on packing: a job's thread count follows from the job and the number of cores alone.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...results.activity import last_line, last_log
from ...results.errors import UserError
from ...results.gates import GATE, HALVING
from ...results.record import Failure, Record, is_cancelled
from .. import hardware
from ..gates import Gatekeeper
from ..hardware import Machine
from ..jobs import Job
from ..signals import interrupts_ignored
from ..worker_protocol import (
    BROKEN_DEVICE,
    DAMAGED,
    FAILED,
    INTERRUPTED,
    OUT_OF_MEMORY,
    RANK_DIED,
    UNWRITABLE,
    WorkerRequest,
    clean_attempt,
    read_progress,
    start_attempt,
)
from .claims import Claims
from .client import Server, ServerDiedError
from .interface import Engine, EngineSettings, Event, EventKind
from .schedule import Schedule
from .shortage import MOST_PARTS, Shortages, device_failed
from .slots import Allocation
from .stall import Watch

ATTEMPTS = 3  # of a job whose process dies, and of a server that dies before any job has ended
STOP_SECONDS = 20.0
_POLL_SECONDS = 0.25
_DUMP_SECONDS = 2.0  # for a worker to write where it is


@dataclass(kw_only=True)
class _Running:
    job: Job
    folder: Path
    allocation: Allocation
    attempt: int
    started: float
    oom_kills: int = 0
    watch: Watch | None = None
    dumped: float | None = None
    progress: tuple[int, int, str] | None = None


class LocalEngine(Engine):
    """Jobs as processes of this machine, on its own devices."""

    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(settings)
        self.machine = hardware.machine(settings.devices, jobs_per_device=settings.jobs_per_device)
        self.device = self.machine.devices[0].name.partition(":")[0]
        self.notes = hardware.notes(self.machine, settings.jobs_per_device)

    def check(self, jobs: Iterable[Job]) -> None:
        """See `Engine.check`."""
        places = self.machine.places
        what = f"{places} {'CPU core' if self.device == 'cpu' else 'CUDA device'}{'s' * (places != 1)}"
        if self.machine.sliced:
            what = "slices of GPUs (MIG), of which a job has one"
        for job in jobs:
            if job.devices > places:
                raise UserError(f"{job.title}: training.devices = {job.devices}, and this run has {what}")

    def run(self, jobs: Mapping[str, Job]) -> Generator[Event, None, None]:
        """See `Engine.run`. Raises UserError when the output can't be written: then no job has a chance."""
        if not jobs:
            return
        scheduler = Scheduler(self.settings, self.machine, dict(jobs), dict(self.finished), Claims())
        try:
            yield from scheduler.events()
        finally:
            with interrupts_ignored():
                scheduler.close()


class Scheduler:
    """One call of `run`: which jobs wait, which run and where, which are finished, and which have failed."""

    def __init__(
        self,
        settings: EngineSettings,
        machine: Machine,
        waiting: dict[str, Job],
        finished: dict[str, Job],
        claims: Claims,
    ) -> None:
        self.settings, self.store, self.waiting, self.finished = settings, settings.store, waiting, finished
        self.claims = claims
        self.keeper = Gatekeeper(store=self.store)
        self.running: dict[str, _Running] = {}
        self.damages: dict[str, int] = {}
        self.shortages = Shortages()
        self.failed: set[str] = set()
        self.given_up: dict[str, tuple[Job, str]] = {}  # what will not be done, and the kind of event that said so
        self.gates = {name: job for name, job in {**finished, **waiting}.items() if job.kind in (GATE, HALVING)}
        self.attempts: dict[str, int] = {}
        self.deaths: dict[str, int] = {}
        self.server_deaths = 0
        self.schedule = Schedule(machine=machine)
        self.schedule.remember(self.store, finished.values())
        self.server = self._start_server()

    def events(self) -> Iterator[Event]:
        """Do it all."""
        jobs = dict(self.waiting)
        for event in self._events():
            if event.kind in ("failed", "cancelled", "skipped", "left out"):
                self.given_up[event.job] = jobs[event.job], event.kind
            elif event.job in self.waiting:  # again
                jobs[event.job] = self.waiting[event.job]
            yield event

    def _events(self) -> Iterator[Event]:
        while True:
            yield from self._heed_retries()
            if not (self.waiting or self.running):
                return
            yield from self._elsewhere()
            yield from self._skip()
            yield from self._dispatch()
            if not self.running:
                self.claims.pause()
                continue
            try:
                ended = self.server.read(_POLL_SECONDS)
            except ServerDiedError as error:
                yield from self._restart(error)
                continue
            for message in ended:
                self.claims.check()  # of a job that is ours no longer this is no news; nor is it to blame for its end
                yield from self._ended(message["job"], message["attempt"], message["status"])
            yield from self._progress()
            yield from self._end_stalled()
            self.server.check_alive()

    def close(self) -> None:
        """Ask running jobs to checkpoint and stop; after `STOP_SECONDS` end them."""
        deadline = time.monotonic() + STOP_SECONDS
        if self.running:
            self.server.stop()
        with contextlib.suppress(ServerDiedError):
            while self.running and time.monotonic() < deadline:
                for message in self.server.read(_POLL_SECONDS):
                    self.running.pop(message["job"], None)
        self.server.close()

    def _restart(self, error: ServerDiedError) -> Iterator[Event]:
        """A new server. The old one's children have died with it; they are started again from their checkpoints."""
        self.claims.check()
        self.server_deaths += 1
        if self.server_deaths >= ATTEMPTS:
            raise UserError(f"{error}, {ATTEMPTS} times in a row; what it printed stands above")
        self.server.close()
        self.server = self._start_server()
        for name in list(self.running):
            yield from self._died(name, self._release(name), f"{error} and was started again", blame=False)

    def _start_server(self) -> Server:
        server = Server(self.settings.imports, keep=self.claims.descriptors)
        self.claims.guard(server)
        return server

    def _elsewhere(self) -> Iterator[Event]:
        """What has become of waiting jobs on other machines."""
        self.claims.keep(self.running)
        for name, record in self.claims.ended(self.waiting):
            job, seconds = self.waiting.pop(name), float(record.run.get("seconds", 0.0))
            if record.status == "finished":
                self.finished[name] = job
                self.schedule.learn(job, record)
                yield Event(kind="finished", job=name, seconds=seconds)
            else:
                self.failed.add(name)
                kind: EventKind = "cancelled" if is_cancelled(record) else "failed"
                yield Event(kind=kind, job=name, message=str(record.error), seconds=seconds)

    def _heed_retries(self) -> Iterator[Event]:
        """Put back what is to be done again since somebody says so (`latentbench retry`), and what was not done for
        want of it."""
        ended = {name: job for name, (job, how) in self.given_up.items() if how in ("failed", "cancelled")}
        ended |= {name: job for name, job in self.gates.items() if name in self.finished}
        again = self.claims.retried(ended, last=not (self.waiting or self.running)) if ended else set()
        if not again:
            return
        restored = {name: ended[name] for name in ended if name in again}
        for name in restored:
            self.finished.pop(name, None)
            for table in (self.keeper.records, self.deaths, self.damages, self.given_up):
                table.pop(name, None)
        self.failed -= again
        count = 0
        while count < len(restored):
            count = len(restored)
            for name, (job, _) in list(self.given_up.items()):
                others = self.failed - {name}
                if name not in ended and not self.keeper.stopped(
                    job, failed=others, is_open=lambda of: of in restored or self._is_open(of)
                ):
                    restored[name] = job
                    self.failed.discard(name)
                    del self.given_up[name]
        self.waiting = {**restored, **self.waiting}
        for name in restored:
            yield Event(kind="retried", job=name, message="somebody asks for it to be done again")

    def _skip(self) -> Iterator[Event]:
        """Take from those that wait what will not be done."""
        for name, job in list(self.waiting.items()):
            stopped = self.keeper.stopped(job, failed=self.failed, is_open=self._is_open)
            if stopped is not None:
                del self.waiting[name]
                if stopped.kind == "skipped":
                    self.failed.add(name)
                yield stopped

    def _is_open(self, name: str) -> bool:
        return name in self.waiting or name in self.running

    def _dispatch(self) -> Iterator[Event]:
        starts = self.schedule.starts(
            self.waiting, self.running, alone=self.shortages.alone, elsewhere=self.claims.elsewhere
        )
        for name, allocation in starts:
            job = self.waiting[name]
            reserved = self.claims.reserve(job, allocation)
            if not (reserved and self.claims.take(job, device=allocation.slot.device)):
                self.schedule.slots.release(allocation)
                continue
            attempt = self.attempts[name] = self.attempts.get(name, 0) + 1
            folder = self.store.job_folder(job.kind, job.key)
            started = time.monotonic()
            run = _Running(job=job, folder=folder, allocation=allocation, attempt=attempt, started=started)
            run.oom_kills = hardware.oom_kills()
            request = self._request(run)
            run.watch = Watch(folder=folder, log=Path(request.log), limit=self.settings.stall_seconds)
            self.server.submit({"job": name, "attempt": attempt, "request": request.to_json()})
            del self.waiting[name]
            self.running[name] = run
            yield Event(kind="started", job=name, device=allocation.slot.device)

    def _request(self, run: _Running) -> WorkerRequest:
        lease = self.claims.lease(run.job)
        try:
            log = start_attempt(run.folder, alone=not lease)
        except OSError as error:
            raise UserError(f"cannot write {run.folder}: {error.strerror or error}") from None
        request = WorkerRequest(
            job=run.job,
            root=str(self.store.root),
            cache=str(self.settings.cache),
            device=run.allocation.slot.device,
            uuids=self.schedule.slots.uuids,
            threads=self.schedule.slots.threads(run.job, run.allocation.slot),
            attempt=run.attempt,
            log=str(log),
            checkpoint_seconds=self.settings.checkpoint_seconds,
            imports=self.settings.imports,
            lease=lease,
            divide=self.shortages.parts(run.job.id),
            memory_fraction=run.allocation.memory_fraction,
            peers=run.allocation.peers(run.job),
        )
        return self.claims.placed(request)

    def _release(self, name: str) -> _Running:
        run = self.running.pop(name)
        self.schedule.slots.release(run.allocation)
        self.claims.free(run.job)
        return run

    def _ended(self, name: str, attempt: int, status: int) -> Iterator[Event]:
        if name not in self.running or self.running[name].attempt != attempt:
            return
        run = self._release(name)
        job, seconds = run.job, time.monotonic() - run.started
        self.server_deaths = 0
        record = self.store.outcome(job.kind, job.key)
        if record is not None and record.status == "finished":
            # It may have been killed right after its record was written.
            clean_attempt(run.folder, shared=bool(self.claims.lease(job)))
            self.finished[name] = job
            run.allocation.slot.errors = 0
            if run.attempt == 1:  # later ones go on from what the first has left
                self.schedule.forecast.finished(job, seconds)
            yield Event(kind="finished", job=name, seconds=seconds)
        elif status == OUT_OF_MEMORY or (
            status in (-signal.SIGKILL, RANK_DIED) and hardware.oom_kills() > run.oom_kills
        ):
            yield from self._out_of_memory(name, run)
        elif status == BROKEN_DEVICE:
            yield from self._died(name, run, device_failed(self.schedule.slots, run.allocation), blame=True)
        elif status == UNWRITABLE:
            self._unwritable(job, record)
        elif status == DAMAGED and self.damages.get(name, 0) < ATTEMPTS:
            self.damages[name] = self.damages.get(name, 0) + 1
            self.waiting = {name: job, **self.waiting}
            yield from self._redo_damaged(job)
        elif status == FAILED and record is not None:
            self.failed.add(name)
            yield Event(kind="failed", job=name, message=str(record.error), seconds=seconds)
        else:
            stalled = "ended without a sign of life (where it was stands in its log)"
            yield from self._died(name, run, _cause(status) if run.dumped is None else stalled, blame=True)

    def _out_of_memory(self, name: str, run: _Running) -> Iterator[Event]:
        """Begin a job again with more memory for it, or with less to hold, until nothing is left to try."""
        cause = self.shortages.cause(run.job, run.folder, run.allocation)
        how = self.shortages.again(name)
        seconds = time.monotonic() - run.started
        if how is not None:
            self.waiting = {name: run.job, **self.waiting}
            yield Event(kind="retried", job=name, message=f"{cause}; next {how}", seconds=seconds)
            return
        self.failed.add(name)
        message = f"{cause}; it was alone there, its batches in {MOST_PARTS} parts if they can be"
        error = Failure(type="OutOfMemory", message=message)
        self.store.save(failed_record(run.job, error), replace=not self.claims.lease(run.job))
        yield Event(kind="failed", job=name, message=str(error), seconds=seconds)

    def _died(self, name: str, run: _Running, cause: str, *, blame: bool) -> Iterator[Event]:
        """Begin a job again whose process has died, unless it has done so too often by itself (`blame`)."""
        seconds = time.monotonic() - run.started
        self.deaths[name] = self.deaths.get(name, 0) + blame
        if self.deaths[name] < ATTEMPTS:
            self.waiting = {name: run.job, **self.waiting}
            yield Event(kind="retried", job=name, message=cause, seconds=seconds)
            return
        self.failed.add(name)
        error = Failure(type="WorkerDied", message=f"{cause}, {ATTEMPTS} times")
        self.store.save(failed_record(run.job, error), replace=not self.claims.lease(run.job))
        yield Event(kind="failed", job=name, message=str(error), seconds=seconds)

    def _redo_damaged(self, job: Job) -> Iterator[Event]:
        """Have done again what `job` reads and is no longer what its record says."""
        for name in job.depends.values():
            if name not in self.finished:
                continue
            needed = self.finished[name]
            record = self.store.load(needed.kind, needed.key)
            damage = "its record is damaged" if record is None else self.store.damage(record)
            if damage is None:
                continue
            if record is not None:
                self.store.discard(record)
            self.waiting = {name: self.finished.pop(name), **self.waiting}
            yield Event(kind="damaged", job=name, message=damage)

    def _unwritable(self, job: Job, record: Record | None) -> None:
        """Report why a worker could not write. Where it could not even say so, this process meets the same obstacle."""
        if record is not None and record.error is not None:
            raise UserError(f"{job.title}: {record.error.message}")
        error = Failure(type="OSError", message="its files could not be written")
        self.store.save(failed_record(job, error), replace=not self.claims.lease(job))
        folder = self.store.job_folder(job.kind, job.key)
        log = last_log(folder)
        raise UserError(f"{job.title}: a file could not be written in {folder}: {last_line(log)} (log: {log})")

    def _progress(self) -> Iterator[Event]:
        for name, run in self.running.items():
            now = read_progress(run.folder)
            if now is not None and now != run.progress:
                run.progress = now
                yield Event(kind="progress", job=name, done=now[0], total=now[1], message=now[2])

    def _end_stalled(self) -> Iterator[Event]:
        """Warn of a worker without a sign of life, then have it write where it is, and end it: it counts as dead."""
        for name, run in self.running.items():
            watch = run.watch
            if watch is None:
                continue
            if run.dumped is not None:
                if time.monotonic() - run.dumped > _DUMP_SECONDS:
                    self.server.kill(name)
                continue
            watch.look()
            if watch.silent > watch.allowed:
                run.dumped = time.monotonic()
                self.server.dump(name)
            elif watch.silent > watch.allowed / 2 and not watch.warned:
                watch.warned = True
                silent, allowed = watch.silent / 60, watch.allowed / 60
                message = f"no sign of life for {silent:.3g} minutes; after {allowed:.3g} it is ended and started again"
                yield Event(kind="stalled", job=name, message=message)


def failed_record(job: Job, error: Failure) -> Record:
    return Record(
        kind=job.kind,
        key=job.key,
        status="failed",
        config=dict(job.config),
        depends=tuple(sorted(job.depends.values())),
        error=error,
    )


def _cause(status: int) -> str:
    if status == -signal.SIGKILL:
        return "killed (by signal 9: someone's kill, or out of memory)"
    if status < 0:
        return f"killed by signal {-status} ({signal.Signals(-status).name})"
    if status == RANK_DIED:
        return "one of its processes died (which one stands in its log)"
    if status == DAMAGED:
        return "what it reads was damaged again and again"
    if status == INTERRUPTED:
        return "stopped by someone's SIGTERM"
    return f"ended with exit code {status} and without a record"
