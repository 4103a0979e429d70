"""Who does which job of a run on several nodes, told in messages alone. Torch-free, and no cluster's library either.

A run has one `Board`. On each node an agent (`take_part`) runs the local engine's scheduler on the node's own devices,
asks the board before it begins a job, and tells it what happens. The record of a job that ended travels with that
message, and every node gets it before it begins a job that needs it: no network disk has to show it in time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from ...results.errors import UserError
from ...results.record import Failure, Record
from ...results.store import RECORD, Store, atomic_write
from .. import hardware
from ..hardware import Machine
from ..jobs import Job
from ..plan_file import job_from_json
from ..signals import interrupts_ignored
from ..worker_protocol import WorkerRequest
from .claims import Claims
from .interface import EngineSettings, Event
from .local import ATTEMPTS, Scheduler, failed_record
from .slots import Allocation

SIGHT_SECONDS = 30.0  # for a network disk to show a node the file that the driver has written


class UnfitNodeError(UserError):
    """The node can't take part: it does not see the folder, or lacks the devices."""


class StopRequested(Exception):
    """The run is to stop, with checkpoints."""


@dataclass(frozen=True, kw_only=True)
class News:
    """What an agent has to know: the records of jobs `ended` since it last looked, by id, the jobs that others have
    `taken`, and whether all is to stop. `seen` is for its next look."""

    ended: Mapping[str, bytes]
    taken: frozenset[str]
    stopping: bool
    seen: int


@dataclass(frozen=True, kw_only=True)
class Work:
    """A run's jobs, as `plan_file.job_to_json` writes them, each after those it depends on."""

    waiting: Sequence[Mapping[str, Any]]
    finished: Sequence[Mapping[str, Any]]
    failed: frozenset[str] = frozenset()


class Board:
    """The jobs of a run: those still open, who has taken them, and how the others ended. Its methods are called one
    after another, and all they take and return can be sent to another process."""

    def __init__(self, work: Work) -> None:
        self.plain = {_id(job): job for job in (*work.finished, *work.waiting)}
        self.open = dict.fromkeys(map(_id, work.waiting))
        self.failed: set[str] = set()
        self.left_out: set[str] = set()
        self.owners: dict[str, str] = {}
        self.memory: dict[str, int] = {}
        self.places: dict[str, int] = {}
        self.records: list[tuple[str, bytes]] = []
        self.losses: Counter[str] = Counter()
        self.reports: list[tuple[Event, bytes]] = []
        self.stopping = False

    def join(self, agent: str, memory: int, places: int) -> Work:
        """Somebody takes part whose largest device has so much memory, and who can give a job so many devices: what
        there is to do now."""
        self.memory[agent], self.places[agent] = memory, places
        gone = self.open.keys() | self.failed | self.left_out
        finished = [job for name, job in self.plain.items() if name not in gone]
        waiting = [job for name, job in self.plain.items() if name in self.open]
        return Work(waiting=waiting, finished=finished, failed=frozenset(self.failed))

    def joined(self, agent: str) -> bool:
        """Whether it takes part."""
        return agent in self.memory

    def most_places(self) -> int:
        """How many devices some agent can give a job."""
        return max(self.places.values(), default=0)

    def may_take(self, agent: str, job: str, memory: int) -> bool:
        """Whether the job is the agent's to have: none where another has it, it is done, or only another has the memory
        that it is to take."""
        if job in self.owners:
            return self.owners[job] == agent
        return job in self.open and min(memory, max(self.memory.values())) <= self.memory[agent]

    def take(self, agent: str, job: str, memory: int) -> bool:
        """Have the job, if it may be had."""
        if not self.may_take(agent, job, memory):
            return False
        self.owners[job] = agent
        return True

    def tell(self, agent: str, event: Event, record: bytes = b"") -> None:
        """Something happened to a job; `record` is that of one that ended. What was known before is told no further.

        A job that is begun again stays with who has it.
        """
        name = event.job
        if event.kind == "damaged":
            if name in self.open:
                return
            self.open[name] = None
            self.records = [(other, b"" if other == name else content) for other, content in self.records]
        elif event.kind in ("skipped", "left out"):
            if name not in self.open:
                return
            del self.open[name]
            (self.failed if event.kind == "skipped" else self.left_out).add(name)
        elif self.owners.get(name) != agent:
            return
        elif event.kind in ("finished", "failed"):
            self._end(name, record, failed=event.kind == "failed")
        self.reports.append((event, record))

    def look(self, agent: str, seen: int) -> News:
        """What the agent has to know now."""
        taken = frozenset(name for name, owner in self.owners.items() if owner != agent)
        ended = {name: record for name, record in self.records[seen:] if record}
        return News(ended=ended, taken=taken, stopping=self.stopping, seen=len(self.records))

    def lose(self, agent: str, cause: str) -> None:
        """The agent is gone: others take its jobs. One that was lost with `ATTEMPTS` of them has failed."""
        self.memory.pop(agent, None)
        self.places.pop(agent, None)
        for name in [name for name, owner in self.owners.items() if owner == agent]:
            del self.owners[name]
            self.losses[name] += 1
            if self.losses[name] < ATTEMPTS:
                self.reports.append((Event(kind="retried", job=name, message=cause), b""))
                continue
            error = Failure(type="NodeLost", message=f"{cause}, {ATTEMPTS} times while the job ran there")
            record = failed_record(job_from_json(self.plain[name]), error).to_bytes()
            self._end(name, record, failed=True)
            self.reports.append((Event(kind="failed", job=name, message=str(error)), record))

    def news(self) -> list[tuple[Event, bytes]]:
        """What has happened since this was last asked, each with the record of a job that ended."""
        reports, self.reports = self.reports, []
        return reports

    def stop(self) -> None:
        """Have all agents stop."""
        self.stopping = True

    def _end(self, name: str, record: bytes, *, failed: bool) -> None:
        self.owners.pop(name, None)
        self.open.pop(name, None)
        self.records.append((name, record))
        if failed:
            self.failed.add(name)


def _id(job: Mapping[str, Any]) -> str:
    return f"{job['kind']}/{job['key']}"


class Groups(Protocol):
    """Reservations of what jobs take of a node (`ray_groups.PlacementGroups`)."""

    def reserve(self, job: str, bundles: Sequence[Mapping[str, float]]) -> bool: ...

    def gpus(self, job: str) -> tuple[str, ...]: ...

    def free(self, job: str) -> None: ...

    def close(self) -> None: ...


def bundles(job: Job, allocation: Allocation) -> list[dict[str, float]]:
    """What the job takes, in equal parts for each of its devices: cores, or a GPU or its share of one."""
    if allocation.slot.device == "cpu":
        return [{"CPU": allocation.units / job.devices}] * job.devices
    return [{"GPU": part.units / part.slot.units} for part in (allocation, *allocation.others)]


@dataclass(kw_only=True)
class BoardClaims(Claims):
    """The jobs that `board` lets the agent have, and that `groups`, if any, has the devices for."""

    agent: str
    board: Board
    store: Store
    places: int
    taken: frozenset[str] = frozenset()
    seen: int = 0
    groups: Groups | None = None
    mine: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)  # jobs whose devices are reserved, or to be, and that are not taken

    def reserve(self, job: Job, allocation: Allocation) -> bool:
        """See `Claims`. Nothing is asked for a job that is not to be had: others would miss it for nothing."""
        if self.groups is None:
            return True
        if job.id in self.taken or not self.board.may_take(self.agent, job.id, job.memory):
            self.free(job)
            return False
        self.asked.add(job.id)
        return self.groups.reserve(job.id, bundles(job, allocation))

    def placed(self, request: WorkerRequest) -> WorkerRequest:
        """See `Claims`."""
        gpus = () if self.groups is None else self.groups.gpus(request.job.id)
        if not gpus:
            return request
        names = {f"cuda:{gpu}": gpu for gpu in gpus}
        first, *others = names
        return replace(request, device=first, peers=tuple(others), uuids=names)

    def free(self, job: Job) -> None:
        """See `Claims`."""
        self._free(job.id)

    def _free(self, name: str) -> None:
        if self.groups is not None:
            self.asked.discard(name)
            self.groups.free(name)

    def take(self, job: Job, *, device: str) -> bool:
        """See `Claims`."""
        if job.id in self.taken or not self.board.take(self.agent, job.id, job.memory):
            self.free(job)
            return False
        self.asked.discard(job.id)
        self.mine.add(job.id)
        return True

    def elsewhere(self, job: Job) -> bool:
        """See `Claims`."""
        return job.id in self.taken or job.devices > self.places

    def ended(self, waiting: Mapping[str, Job]) -> Iterator[tuple[str, Record]]:
        """See `Claims`. Raises StopRequested, and UserError where a record can't be written."""
        news = self.board.look(self.agent, self.seen)
        self.taken, self.seen = news.taken, news.seen
        for name in [name for name in self.asked if name in self.taken or name not in waiting]:
            self._free(name)
        if news.stopping:
            raise StopRequested
        for name, content in news.ended.items():
            job = waiting.get(name)
            if job is not None:
                write_record(self.store, job, content)
                self._free(name)
                yield name, Record.from_bytes(content, kind=job.kind, key=job.key)

    def pause(self) -> None:
        """See `Claims`."""
        time.sleep(0.1)

    def tell(self, event: Event, job: Job, *, on: str) -> None:
        """Tell the board, with the job's record where it has ended; not what the board itself has told."""
        if event.kind in ("finished", "failed") and event.job not in self.mine:
            return
        record = b""
        if event.kind in ("finished", "failed"):
            record = (self.store.job_folder(job.kind, job.key) / RECORD).read_bytes()
        elif event.kind == "started":
            gpus = () if self.groups is None else self.groups.gpus(event.job)
            event = replace(event, device=f"{f'cuda:{gpus[0]}' if gpus else event.device} on {on}")
        self.board.tell(self.agent, event, record)


def write_record(store: Store, job: Job, content: bytes) -> None:
    """Have the job's record in `store`, where a disk that is shared has it already. Raises UserError."""
    path = store.job_folder(job.kind, job.key) / RECORD
    try:
        present = path.read_bytes() == content
    except OSError:
        present = False
    if not present:
        atomic_write(path, content)


def take_part(
    agent: str, board: Board, settings: EngineSettings, machine: Machine, *, host: str, groups: Groups | None = None
) -> None:
    """Do what is open until nothing is, beside all others who do: of the machine's devices all, or those that `groups`
    reserves for each job. Raises UserError as `LocalEngine.run` does."""
    work = board.join(agent, max(device.memory for device in machine.devices), machine.places)
    waiting, finished = ({job.id: job for job in map(job_from_json, jobs)} for jobs in (work.waiting, work.finished))
    jobs = {**finished, **waiting}
    claims = BoardClaims(agent=agent, board=board, store=settings.store, places=machine.places, groups=groups)
    scheduler = Scheduler(settings, machine, waiting, finished, claims)
    scheduler.failed = set(work.failed)
    try:
        for event in scheduler.events():
            claims.tell(event, jobs[event.job], on=host)
    except StopRequested:
        pass
    finally:
        with interrupts_ignored():
            scheduler.close()
            if groups is not None:
                groups.close()


def node_machine(
    settings: EngineSettings, *, cores: int, memory: int | None, mark: Path, gpus: int | None = None
) -> Machine:
    """The devices that this node has for jobs: no more than so many cores, bytes and `gpus`.

    Raises UnfitNodeError, also where the file `mark`, which the driver has written, can't be seen.
    """
    deadline = time.monotonic() + SIGHT_SECONDS
    while not mark.exists():
        if time.monotonic() > deadline:
            raise UnfitNodeError(f"{mark.parent} is not the folder that the run writes to; all nodes have to share it")
        time.sleep(0.5)
    try:
        settings.cache.mkdir(parents=True, exist_ok=True)
        machine = hardware.machine(settings.devices, jobs_per_device=settings.jobs_per_device)
    except OSError as error:
        raise UnfitNodeError(f"the cache {settings.cache} can't be written: {error.strerror or error}") from None
    except UserError as error:
        raise UnfitNodeError(str(error)) from None
    beside = [device for device in machine.devices if device not in machine.main_devices]
    devices = tuple(
        replace(device, units=min(device.units, cores), memory=min(device.memory, memory or device.memory))
        if device.name == "cpu"
        else device
        for device in (*machine.main_devices[:gpus], *beside)
    )
    host_threads = min(machine.host_threads, cores)
    return replace(machine, devices=devices, cores=min(machine.cores, cores), host_threads=host_threads)
