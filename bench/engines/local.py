"""The local engine: a process per job on device slots, forked from a server that has torch imported. Torch-free.

Determinism does not depend on packing: a job's thread count follows from the job and the number of cores alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...results.errors import UserError
from ...results.record import Failure, Record
from ...results.store import Store
from ..hardware import Machine
from ..jobs import Job
from .interface import Engine, Event

# Below this many FLOPs a step is too short to share between cores: a process per core is faster (measured).
SMALL_STEP = 8e9
ATTEMPTS = 3
STOP_SECONDS = 20.0
INTERRUPTED = 75  # a worker's exit code for "checkpointed and stopped"

_ALLOCATOR = {  # page faults cost 15-22 % of CPU steps: keep freed memory, use huge pages
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "THP_MEM_ALLOC_ENABLE": "1",
}


@dataclass(kw_only=True)
class _Slot:
    """A device with what is free on it: cores (CPU) or places (GPU), and bytes of memory."""

    device: str
    units: int
    memory: int
    free_units: int = field(init=False)
    free_memory: int = field(init=False)

    def __post_init__(self) -> None:
        self.free_units, self.free_memory = self.units, self.memory


@dataclass(kw_only=True)
class _Running:
    job: Job
    slot: _Slot
    units: int
    memory: int
    attempt: int
    started: float
    progress: tuple[int, int, str] = (0, 0, "")


class LocalEngine(Engine):
    """Jobs as processes of this machine.

    `machine` says which devices and how much of each; `cache` is the decoded data sets' folder.
    """

    def __init__(self, *, store: Store, machine: Machine, cache: Path, checkpoint_seconds: float = 30.0) -> None:
        self.store, self.machine, self.cache = store, machine, cache
        self.checkpoint_seconds = checkpoint_seconds

    def run(self, jobs: Mapping[str, Job]) -> Iterator[Event]:
        """See `Engine.run`."""
        session = _Session(self, dict(jobs))
        try:
            yield from session.events()
        finally:
            session.close()


class _Session:
    def __init__(self, engine: LocalEngine, waiting: dict[str, Job]) -> None:
        self.engine, self.waiting = engine, waiting
        self.attempts: dict[str, int] = {}
        self.failed: set[str] = set()
        self.running: dict[str, _Running] = {}
        self.slots = [_Slot(device=d.name, units=d.units, memory=d.memory) for d in engine.machine.devices]
        self.server: subprocess.Popen[bytes] | None = None
        self.selector = selectors.DefaultSelector()
        self.pending = b""
        self.deaths = 0

    def events(self) -> Iterator[Event]:
        if self.waiting:
            self._start_server()
        while self.waiting or self.running:
            yield from self._skip()
            yield from self._dispatch()
            if not self.running:
                continue
            for message in self._read(timeout=0.25):
                yield from self._ended(message)
            yield from self._progress()

    def close(self) -> None:
        """Ask running jobs to checkpoint and stop; after `STOP_SECONDS` end them."""
        server = self.server
        if server is None:
            return
        deadline = time.monotonic() + STOP_SECONDS
        with contextlib.suppress(OSError, ValueError):
            if self.running:
                self._send({"stop": True})
            while self.running and server.poll() is None and time.monotonic() < deadline:
                for message in self._read(timeout=0.25):
                    self._release(message["job"])
        for pipe in (server.stdin, server.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            server.wait(timeout=5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        self.selector.close()

    def _start_server(self) -> None:
        environment = {**_ALLOCATOR, **os.environ, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
        self.server = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert self.server.stdout is not None
        os.set_blocking(self.server.stdout.fileno(), False)
        self.selector.register(self.server.stdout, selectors.EVENT_READ)
        self.pending = b""

    def _send(self, order: Mapping[str, Any]) -> None:
        assert self.server is not None
        assert self.server.stdin is not None
        self.server.stdin.write(json.dumps(order).encode() + b"\n")
        self.server.stdin.flush()

    def _read(self, timeout: float) -> list[dict[str, Any]]:
        """The server's messages of the next `timeout` seconds; a dead server is started again."""
        assert self.server is not None
        assert self.server.stdout is not None
        if not self.selector.select(timeout):
            return []
        data = os.read(self.server.stdout.fileno(), 65536)
        if not data:
            return self._server_died()
        *lines, self.pending = (self.pending + data).split(b"\n")
        return [message for message in map(json.loads, lines) if "job" in message]

    def _server_died(self) -> list[dict[str, Any]]:
        assert self.server is not None
        code = self.server.wait()
        self.deaths += 1
        if self.deaths > ATTEMPTS:
            raise UserError(f"the job server keeps dying (exit status {code}); see the messages above")
        assert self.server.stdout is not None
        self.selector.unregister(self.server.stdout)
        lost = [{"job": name, "attempt": run.attempt, "status": code or 1} for name, run in self.running.items()]
        self._start_server()
        # Its children die with it (they are told by the kernel): their jobs are begun again, from their checkpoints.
        return [message | {"status": -signal.SIGKILL} for message in lost]

    def _skip(self) -> Iterator[Event]:
        for name, job in list(self.waiting.items()):
            broken = [d for d in job.depends.values() if d in self.failed]
            if broken:
                del self.waiting[name]
                self.failed.add(name)
                yield Event(kind="skipped", job=name, message=f"{broken[0]} failed")

    def _dispatch(self) -> Iterator[Event]:
        busy = self.waiting.keys() | self.running.keys()
        for name, job in list(self.waiting.items()):
            if any(d in busy for d in job.depends.values()):
                continue
            placed = self._place(job)
            if placed is None:
                continue
            slot, units, memory = placed
            del self.waiting[name]
            attempt = self.attempts[name] = self.attempts.get(name, 0) + 1
            self.running[name] = _Running(
                job=job, slot=slot, units=units, memory=memory, attempt=attempt, started=time.monotonic()
            )
            slot.free_units -= units
            slot.free_memory -= memory
            self._order(job, slot, attempt)
            yield Event(kind="started", job=name, device=slot.device)

    def _place(self, job: Job) -> tuple[_Slot, int, int] | None:
        """A slot with room for `job`. A job larger than the memory gets the device for itself rather than never."""
        for slot in sorted(self.slots, key=lambda s: -s.free_units):
            units = slot.units if slot.device == "cpu" and job.step_flops >= SMALL_STEP else 1
            memory = min(job.memory, slot.memory)
            if units <= slot.free_units and memory <= slot.free_memory:
                return slot, units, memory
        return None

    def _threads(self, job: Job, slot: _Slot) -> int:
        """Threads of `job`, whatever runs beside it: numbers may depend on the thread count, never on packing."""
        if slot.device != "cpu":
            return self.engine.machine.host_threads
        return self.engine.machine.cores if job.step_flops >= SMALL_STEP else 1

    def _order(self, job: Job, slot: _Slot, attempt: int) -> None:
        folder = self.engine.store.job_folder(job.kind, job.key)
        log = folder / "log" / f"attempt-{_next_log(folder)}.log"
        try:
            self._send(
                {
                    "job": job.id,
                    "kind": job.kind,
                    "key": job.key,
                    "title": job.title,
                    "config": job.config,
                    "versions": job.versions,
                    "depends": job.depends,
                    "runtime": job.runtime,
                    "root": str(self.engine.store.root),
                    "cache": str(self.engine.cache),
                    "device": slot.device,
                    "threads": self._threads(job, slot),
                    "attempt": attempt,
                    "log": str(log),
                    "checkpoint_seconds": self.engine.checkpoint_seconds,
                }
            )
        except BrokenPipeError:
            pass  # the server died; the next read finds out and starts the job again

    def _release(self, name: str) -> _Running:
        run = self.running.pop(name)
        run.slot.free_units += run.units
        run.slot.free_memory += run.memory
        return run

    def _ended(self, message: Mapping[str, Any]) -> Iterator[Event]:
        name, status = message["job"], message["status"]
        if name not in self.running:
            return
        run = self._release(name)
        seconds = time.monotonic() - run.started
        store, job = self.engine.store, run.job
        record = store.load_any(job.kind, job.key)
        if store.load(job.kind, job.key) is not None:
            yield Event(kind="finished", job=name, seconds=seconds)
        elif status >= 0 and record is not None and record.status == "failed":
            self.failed.add(name)
            yield Event(kind="failed", job=name, message=str(record.error), seconds=seconds)
        elif run.attempt < ATTEMPTS:
            self.waiting = {name: job, **self.waiting}
            yield Event(kind="retried", job=name, message=_cause(status), seconds=seconds)
        else:
            self.failed.add(name)
            error = Failure(type="WorkerDied", message=f"{_cause(status)}, {ATTEMPTS} times")
            with contextlib.suppress(UserError):
                store.save(
                    Record(
                        kind=job.kind,
                        key=job.key,
                        status="failed",
                        config=dict(job.config),
                        depends=tuple(sorted(job.depends.values())),
                        error=error,
                    )
                )
            yield Event(kind="failed", job=name, message=str(error), seconds=seconds)

    def _progress(self) -> Iterator[Event]:
        for name, run in self.running.items():
            path = self.engine.store.job_folder(run.job.kind, run.job.key) / "progress"
            try:
                done, total, message = path.read_text().split(" ", 2)
                now = (int(done), int(total), message)
            except (OSError, ValueError):
                continue
            if now != run.progress:
                run.progress = now
                yield Event(kind="progress", job=name, done=now[0], total=now[1], message=now[2])


def _next_log(folder: Path) -> int:
    logs = [p.stem.removeprefix("attempt-") for p in (folder / "log").glob("attempt-*.log")]
    return 1 + max((int(n) for n in logs if n.isdigit()), default=0)


def _cause(status: int) -> str:
    if status == -signal.SIGKILL:
        return "killed (by signal 9: someone's kill, or out of memory)"
    if status < 0:
        return f"killed by signal {-status} ({signal.Signals(-status).name})"
    return f"ended with exit code {status} and without a record"
