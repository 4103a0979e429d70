"""The Ray engine: on each node of a Ray cluster an agent that runs the local engine's scheduler. Torch-free.

What the agents and this process tell each other is in `board`; here is what is Ray's own: cluster, nodes and actors.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from ...results.errors import UserError, one_line
from ...results.store import atomic_write
from .. import hardware
from ..jobs import Job
from ..plan_file import job_to_json
from ..signals import interrupts_ignored
from .board import Board, UnfitNodeError, Work, node_machine, take_part, write_record
from .interface import Engine, EngineSettings, Event
from .local import ATTEMPTS, STOP_SECONDS
from .ray_groups import PlacementGroups, free_groups

_POLL_SECONDS = 0.2
_LOOK_SECONDS = 5.0  # between two looks for new nodes
_ANSWER_SECONDS = 20.0  # for a cluster to take a connection
_MESSAGES = 80_000_000  # bytes of shared memory; the least that Ray takes
_SETTINGS = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or it warns
    "RAY_memory_monitor_refresh_ms": "0",  # or an agent is ended, with all of its jobs, for the lack of memory of one
}


def _ray() -> Any:
    """The module. Raises UserError."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise UserError("--engine ray needs Ray: pip install 'latentbench[ray]'") from None
    return ray


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node of the cluster, with what it has for jobs; `memory` in bytes, where the cluster says so."""

    id: str
    host: str
    cores: int
    gpus: int
    memory: int | None


def nodes(*, gpus: bool) -> list[Node]:
    """The nodes that do jobs on GPUs, or on CPUs."""
    listed = []
    for facts in _ray().nodes():
        if not facts["Alive"]:
            continue
        has = facts["Resources"]
        memory = int(has["memory"]) if "memory" in has else None
        cores, devices = int(has.get("CPU", 0)), int(has.get("GPU", 0)) if gpus else 0
        if devices if gpus else cores:
            host = facts["NodeManagerHostname"]
            listed.append(Node(id=facts["NodeID"], host=host, cores=cores, gpus=devices, memory=memory))
    return listed


def _places(node: Node, devices: str) -> int:
    """How many devices the node can give a job, of those that `--devices` names."""
    named = devices.count(",") + 1 if devices.startswith("cuda:") else node.gpus
    return min(node.gpus, named) if node.gpus else node.cores


class Agent:
    """What runs on a node, as a Ray actor."""

    def run(
        self,
        name: str,
        board: Any,
        node: Node,
        settings: EngineSettings,
        mark: Path,
        threads: str | None,
        grouped: bool,
    ) -> tuple[str, bool]:
        """Do jobs until none is open; returns what is wrong, and whether with the node. `threads` is the driver's
        OMP_NUM_THREADS, in place of the one that Ray sets. Where jobs are `grouped` each reserves what it takes; else
        the agent has all of the node."""
        os.environ.pop("OMP_NUM_THREADS", None)
        if threads is not None:
            os.environ["OMP_NUM_THREADS"] = threads
        try:
            if grouped and node.gpus:
                os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # Ray hides all GPUs from an agent that has none itself
            cores, gpus = max(node.cores, 1), node.gpus or None
            machine = node_machine(settings, cores=cores, memory=node.memory, mark=mark, gpus=gpus)
            groups = PlacementGroups(_owner(mark, name), node.id) if grouped else None
            take_part(name, cast("Board", _Remote(board)), settings, machine, host=node.host, groups=groups)
        except UserError as error:
            return str(error), isinstance(error, UnfitNodeError)
        return "", False


def _owner(mark: Path, agent: str = "") -> str:
    """In the name of whom an agent of the run, or all of them, have placement groups."""
    return f"latentbench{mark.name} {agent}".strip()


class _Remote:
    """The methods of an actor, called and waited for."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._actor, name)
        return lambda *arguments: _ray().get(method.remote(*arguments))


class RayEngine(Engine):
    """Jobs on the nodes of a Ray cluster, or of one that is started for the run on this machine."""

    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(settings)
        ray = _ray()
        self.address = settings.address or os.environ.get("RAY_ADDRESS", "")
        self.connected = False
        if self.address or ray.is_initialized():
            self.connected = _connect(self.address, settings)
            has_gpus = settings.devices != "cpu" and bool(nodes(gpus=True))
            self.device = "cuda" if has_gpus else "cpu"
            self.places = max((_places(node, settings.devices) for node in nodes(gpus=has_gpus)), default=0)
            if settings.devices.startswith("cuda") and not has_gpus:
                raise UserError(f"--devices {settings.devices}: no node of the cluster has a GPU for Ray")
            return
        machine = hardware.machine(settings.devices, jobs_per_device=settings.jobs_per_device)
        self.device, self.places = machine.devices[0].name.partition(":")[0], machine.places
        self.notes = hardware.notes(machine, settings.jobs_per_device)

    def check(self, jobs: Iterable[Job]) -> None:
        """See `Engine.check`."""
        what = f"no node has more than {self.places} {'CPU core' if self.device == 'cpu' else 'GPU'}"
        for job in jobs:
            if job.devices > self.places:
                message = f"{job.title}: training.devices = {job.devices}, and {what}{'s' * (self.places != 1)}"
                raise UserError(message)

    def run(self, jobs: Mapping[str, Job]) -> Generator[Event, None, None]:
        """See `Engine.run`. Raises UserError where no node can take part, or none is left."""
        if not jobs:
            return
        self.connected |= _connect(self.address, self.settings)
        run = None
        try:
            run = _Run(self.settings, dict(jobs), dict(self.finished), gpus=self.device == "cuda")
            yield from run.events()
        finally:
            with interrupts_ignored():
                if run is not None:
                    run.close()
                if self.connected:
                    _ray().shutdown()
                    self.connected = False


def _connect(address: str, settings: EngineSettings) -> bool:
    """Connect to the cluster, or start one; False where this process is connected already. Raises UserError."""
    ray = _ray()
    if ray.is_initialized():
        return False
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "ERROR"}
    if not address:
        options |= {"address": "local", "include_dashboard": False, "object_store_memory": _MESSAGES}
        options |= {"num_cpus": hardware.cores()} | ({"num_gpus": 0} if settings.devices == "cpu" else {})
    try:
        host, separator, port = address.rpartition(":")
        if separator and port.isdecimal():  # Ray itself tries for minutes
            socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()
        with _own_signals():
            ray.init(**options)
    except SystemExit:  # Ray's answer to SIGTERM
        raise KeyboardInterrupt from None
    except Exception as error:
        raise UserError(one_line(f"--engine ray: no cluster at {options['address']}: {error}")) from None
    return True


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Inside, Ray may set signal handlers, and start processes that never see SIGTERM or SIGHUP: those that go to the
    whole process group are for the run, which stops with checkpoints and ends them."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in numbers}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _Run:
    """One call of `run`: the board, the agents by what they will return, and the jobs that have not ended."""

    def __init__(self, settings: EngineSettings, jobs: dict[str, Job], finished: dict[str, Job], *, gpus: bool) -> None:
        self.ray = _ray()
        root = settings.store.root.absolute()
        store = type(settings.store)(root)
        devices = settings.devices if gpus else "cpu"
        self.settings = replace(settings, store=store, cache=settings.cache.absolute(), devices=devices)
        self.gpus, self.jobs, self.todo = gpus, {**finished, **jobs}, jobs
        # Ray can't be asked for the GPUs that the user names: then each agent waits for all of its node.
        named = devices.startswith("cuda:")
        self.grouped = not named and any(job.devices > 1 for job in self.jobs.values())
        self.agents: dict[Any, tuple[str, Node, Any]] = {}
        self.starts: Counter[str] = Counter()
        self.first: frozenset[str] = frozenset()
        self.mark = root / f".ray-{secrets.token_hex(8)}"
        atomic_write(self.mark, b"")
        work = Work(waiting=[*map(job_to_json, jobs.values())], finished=[*map(job_to_json, finished.values())])
        self.actor = self._on(self.ray.get_runtime_context().get_node_id(), Board, num_cpus=0).remote(work)
        self.board = cast("Board", _Remote(self.actor))

    def events(self) -> Iterator[Event]:
        next_look = 0.0
        while True:
            yield from self._news()
            if not self.todo:
                return
            if time.monotonic() >= next_look or not self.agents:
                self._enlist()
                self._check_places()
                next_look = time.monotonic() + _LOOK_SECONDS
            ended, _ = self.ray.wait(list(self.agents), timeout=_POLL_SECONDS)
            for reference in ended:
                self._ended(reference)

    def close(self) -> None:
        """Have the agents stop their jobs with checkpoints, and end them."""
        with contextlib.suppress(self.ray.exceptions.RayError):
            self.board.stop()
            if self.agents:
                self.ray.wait(list(self.agents), num_returns=len(self.agents), timeout=STOP_SECONDS + 5)
        for actor in (*(actor for _, _, actor in self.agents.values()), self.actor):
            self.ray.kill(actor)
        if self.grouped:
            with contextlib.suppress(self.ray.exceptions.RayError):
                free_groups(_owner(self.mark))
        with contextlib.suppress(OSError):
            self.mark.unlink()

    def _on(self, node: str, kind: type, **resources: int) -> Any:
        """An actor class for that node."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        place = NodeAffinitySchedulingStrategy(node, soft=False)
        return self.ray.remote(kind).options(scheduling_strategy=place, **resources)

    def _enlist(self) -> None:
        """Start an agent on every node that has none. It has the node's CPUs and GPUs, as soon as they are free, unless
        each job reserves its own."""
        present = {node.id for _, node, _ in self.agents.values()}
        for node in nodes(gpus=self.gpus):
            if node.id in present or self.starts[node.id] >= ATTEMPTS:
                continue
            self.starts[node.id] += 1
            name = f"{node.id} {self.starts[node.id]}"
            has = {"num_cpus": 0} if self.grouped else {"num_cpus": node.cores, "num_gpus": node.gpus}
            actor = self._on(node.id, Agent, **has).remote()
            threads = os.environ.get("OMP_NUM_THREADS")
            reference = actor.run.remote(name, self.actor, node, self.settings, self.mark, threads, self.grouped)
            self.agents[reference] = name, node, actor
        if not self.agents:
            raise UserError("--engine ray: the cluster has no node for jobs; the same command goes on where it stopped")
        self.first = self.first or frozenset(self.starts)

    def _check_places(self) -> None:
        """Raises UserError where a job needs more devices than any node that is left can give it."""
        most = max((job.devices for job in self.todo.values()), default=1)
        if most > 1 and all(self.board.joined(name) for name, _, _ in self.agents.values()):
            places = self.board.most_places()
            if most > places:
                what = f"training.devices = {most}, and no node that is left can give a job more than {places}"
                raise UserError(f"--engine ray: {what}; the same command goes on where it stopped")

    def _news(self) -> Iterator[Event]:
        for event, record in self.board.news():
            job = self.jobs[event.job]
            if record:
                write_record(self.settings.store, job, record)
            if event.kind in ("finished", "failed", "skipped", "left out"):
                self.todo.pop(event.job, None)
            elif event.kind == "damaged":
                self.todo[event.job] = job
            yield event

    def _ended(self, reference: Any) -> None:
        """An agent has ended: there is nothing left to do, or something is wrong."""
        name, node, actor = self.agents.pop(reference)
        errors = self.ray.exceptions
        try:
            complaint, unfit = self.ray.get(reference)
        except errors.RayTaskError:
            raise
        except errors.RayError as error:
            self.ray.kill(actor)
            if self.grouped:
                free_groups(_owner(self.mark, name))
            alive = node.id in {other.id for other in nodes(gpus=self.gpus)}
            if alive and not self.board.joined(name):
                reason = one_line(str(error).strip().splitlines()[-1])
                raise UserError(f"{node.host}: no agent starts there ({reason}); is latentbench installed?") from None
            self.board.lose(name, f"the agent on {node.host} died" if alive else f"the node {node.host} was lost")
            return
        if complaint and not (unfit and node.id not in self.first):  # one that came late is left out
            raise UserError(f"{node.host}: {complaint}")
        self.starts[node.id] = ATTEMPTS
