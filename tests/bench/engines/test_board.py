"""The board of a run on several nodes, and agents that share no disk: only messages go between them."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench.engines import board as board_module
from latentbench.bench.engines.board import Board, BoardClaims, UnfitNodeError, Work, bundles, node_machine, take_part
from latentbench.bench.engines.client import Server
from latentbench.bench.engines.interface import EngineSettings, Event
from latentbench.bench.engines.slots import Allocation, Slots
from latentbench.bench.hardware import Device, Machine
from latentbench.bench.jobs import Job
from latentbench.bench.plan_file import job_to_json
from latentbench.bench.worker_protocol import WorkerRequest
from latentbench.results.record import Failure, Record
from latentbench.results.store import RECORD, Store

# A server whose workers need no torch, only the records of what their job depends on.
SERVER = """
import os, signal, time
from latentbench.bench import worker
from latentbench.bench.engines import server
from latentbench.bench.worker_protocol import DAMAGED, INTERRUPTED, WorkerRequest
from latentbench.results.record import Failure, Record
from latentbench.results.store import Store

def work(data):
    request = WorkerRequest.from_json(data)
    store, job = Store(request.root), request.job
    signal.signal(signal.SIGTERM, lambda *_: os._exit(INTERRUPTED))
    if any(store.load(*name.split("/")) is None for name in job.depends.values()):
        return DAMAGED
    time.sleep(job.config.get("seconds", 0))
    error = Failure(type="ValueError", message="no luck") if job.config.get("fails") else None
    status = "failed" if error else "finished"
    store.save(Record(kind=job.kind, key=job.key, status=status, config=job.config, error=error))
    return 1 if error else 0

worker.preload = lambda: None
worker.work = work
server.main()
"""


def job(name: str, *needs: Job, memory: int = 1, **do: Any) -> Job:
    depends = {f"need{i}": need.id for i, need in enumerate(needs)}
    return Job(kind="fake", config={"name": name, **do}, versions={}, depends=depends, title=name, memory=memory)


def board(*jobs: Job, finished: tuple[Job, ...] = (), agents: dict[str, int] | None = None) -> Board:
    """A board with these jobs, and agents with so much memory."""
    fresh = Board(Work(waiting=[*map(job_to_json, jobs)], finished=[*map(job_to_json, finished)]))
    for name, memory in (agents or {"one": 1, "two": 1}).items():
        fresh.join(name, memory, 1)
    return fresh


def told(on: Board) -> list[tuple[str, str]]:
    return [(event.kind, event.job) for event, _ in on.news()]


def tell(on: Board, agent: str, kind: Any, about: Job, record: bytes = b"") -> None:
    on.tell(agent, Event(kind=kind, job=about.id), record)


def test_a_job_is_one_agent_s_and_its_record_everybody_s() -> None:
    a = job("a")
    shared = board(a)
    assert shared.take("one", a.id, 1)
    assert shared.take("one", a.id, 1), "it is its own still"
    assert not shared.take("two", a.id, 1)
    assert shared.look("two", 0).taken == {a.id}
    assert shared.look("one", 0).taken == frozenset()
    tell(shared, "two", "finished", a, b"not its own")
    tell(shared, "one", "retried", a)
    assert not shared.take("two", a.id, 1), "a job that is begun again stays where it was"
    tell(shared, "one", "finished", a, b"record")
    assert told(shared) == [("retried", a.id), ("finished", a.id)]
    news = shared.look("two", 0)
    assert news.ended == {a.id: b"record"}
    assert shared.look("two", news.seen).ended == {}
    assert not shared.take("two", a.id, 1)
    late = shared.join("three", 1, 1)
    assert (late.waiting, late.finished) == ([], [job_to_json(a)])


def test_a_lost_agent_s_jobs_are_the_others_until_they_were_lost_too_often() -> None:
    a = job("a")
    shared = board(a)
    for agent in ("one", "two"):
        assert shared.take(agent, a.id, 1)
        shared.lose(agent, "the node was lost")
    assert told(shared) == [("retried", a.id)] * 2
    shared.join("three", 1, 1)
    assert shared.take("three", a.id, 1)
    shared.lose("three", "the node was lost")
    [(event, content)] = shared.news()
    record = Record.from_bytes(content, kind=a.kind, key=a.key)
    assert record.error == Failure(type="NodeLost", message="the node was lost, 3 times while the job ran there")
    assert (event.kind, event.message) == ("failed", str(record.error))
    assert shared.join("four", 1, 1).failed == {a.id}


def test_a_job_waits_for_the_node_with_the_memory_that_it_takes() -> None:
    small, large, huge = job("small"), job("large", memory=8), job("huge", memory=99)
    shared = board(small, large, huge, agents={"little": 2, "big": 10})
    assert [shared.take("little", j.id, j.memory) for j in (small, large, huge)] == [True, False, False]
    assert [shared.take("big", j.id, j.memory) for j in (large, huge)] == [True, True]
    shared.lose("big", "gone")
    assert shared.take("little", huge.id, huge.memory), "nobody has more"


def test_what_is_damaged_is_done_again_once() -> None:
    needed, a = job("needed"), job("a")
    shared = board(a, finished=(needed,))
    assert not shared.take("one", needed.id, 1)
    tell(shared, "one", "damaged", needed)
    tell(shared, "two", "damaged", needed)
    assert told(shared) == [("damaged", needed.id)]
    assert shared.take("two", needed.id, 1)
    tell(shared, "two", "finished", needed, b"first")
    assert shared.look("one", 0).ended == {needed.id: b"first"}
    tell(shared, "one", "damaged", needed)
    assert shared.look("one", 0).ended == {}, "that record counts no more"
    tell(shared, "one", "skipped", a)
    tell(shared, "two", "skipped", a)
    assert told(shared) == [("finished", needed.id), ("damaged", needed.id), ("skipped", a.id)]


class Nodes:
    """Agents in threads, each with a disk of its own, and so many cores."""

    def __init__(self, shared: Board, folder: Path, **cores: int) -> None:
        self.stores = {name: Store(folder / name) for name in cores}
        self.threads = []
        for name, store in self.stores.items():
            machine = Machine(devices=(Device(name="cpu", units=cores[name], memory=100),), cores=cores[name])
            settings = EngineSettings(store=store, cache=folder / "cache")
            arguments = (name, shared, settings, machine)
            self.threads.append(threading.Thread(target=take_part, args=arguments, kwargs={"host": f"host-{name}"}))
            self.threads[-1].start()

    def join(self) -> None:
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()


class Reserved:
    """Groups of a node with so many cores, which lists what happened to them."""

    def __init__(self, cores: float, *, gpus: tuple[str, ...] = ()) -> None:
        self.cores, self.names = cores, gpus
        self.has: dict[str, list[dict[str, float]]] = {}
        self.waits: set[str] = set()
        self.log: list[tuple[str, str]] = []

    def reserve(self, job: str, bundles: Any) -> bool:
        self.waits.add(job)
        if job not in self.has and sum(b.get("CPU", 0) for b in bundles) <= self.free_cores:
            self.has[job] = list(bundles)
            self.log.append(("has", job))
        return job in self.has

    @property
    def free_cores(self) -> float:
        return self.cores - sum(b.get("CPU", 0) for taken in self.has.values() for b in taken)

    def gpus(self, job: str) -> tuple[str, ...]:
        return self.names

    def free(self, job: str) -> None:
        self.waits.discard(job)
        if self.has.pop(job, None) is not None:
            self.log.append(("free", job))

    def close(self) -> None:
        for name in list(self.has):
            self.free(name)


def test_a_job_s_devices_are_a_bundle_each() -> None:
    pair, small = replace(job("pair"), devices=2), job("small")
    cpu = Slots(Machine(devices=(Device(name="cpu", units=4, memory=9),), cores=4))
    large = replace(pair, step_flops=1e15)
    for what, expected in ((small, [{"CPU": 1}]), (pair, [{"CPU": 1}] * 2), (large, [{"CPU": 2}] * 2)):
        allocation = cpu.allocate(what)
        assert allocation is not None
        assert bundles(what, allocation) == expected
        cpu.release(allocation)
    devices = tuple(Device(name=f"cuda:{i}", units=2, memory=9) for i in range(3))
    gpus = Slots(Machine(devices=(*devices, Device(name="cpu", units=2, memory=9)), cores=4))
    for what, expected in (
        (small, [{"GPU": 0.5}]),
        (large, [{"GPU": 1}] * 2),
        (replace(small, on_cpu=True), [{"CPU": 1}]),
    ):
        allocation = gpus.allocate(what)
        assert allocation is not None
        assert bundles(what, allocation) == expected


def test_devices_are_given_back_where_another_has_the_job(tmp_path: Path) -> None:
    a, b, c, large = job("a"), job("b"), job("c"), job("large", memory=2)
    shared = board(a, b, c, large, agents={"one": 1, "two": 2})
    groups = Reserved(2)
    claims = BoardClaims(agent="one", board=shared, store=Store(tmp_path), places=1, groups=groups)
    slot = Slots(Machine(devices=(Device(name="cpu", units=4, memory=9),), cores=4)).slots[0]
    allocation = Allocation(slot=slot, units=1, memory=1)
    assert claims.reserve(a, allocation)
    assert shared.take("two", a.id, 1)
    assert not claims.take(a, device="cpu"), "the other was first"
    assert groups.log == [("has", a.id), ("free", a.id)]
    assert not claims.reserve(a, allocation)
    assert not claims.reserve(large, allocation), "it is for the one with the memory"
    assert groups.log == [("has", a.id), ("free", a.id)], "nothing is asked for in vain"
    assert claims.reserve(b, allocation)
    assert claims.take(b, device="cpu")
    assert not claims.reserve(c, Allocation(slot=slot, units=2, memory=1)), "one core is left"
    assert shared.take("two", c.id, 1)
    assert list(claims.ended({a.id: a, c.id: c})) == []
    assert groups.waits == {b.id}, "what waits for devices does so no more when another has it"
    claims.free(b)
    assert groups.has == {}


def test_a_job_runs_on_the_gpus_that_it_was_given(tmp_path: Path) -> None:
    pair = replace(job("pair"), devices=2)
    asked: dict[str, Any] = {"root": "", "cache": "", "threads": 1, "attempt": 1, "log": "", "checkpoint_seconds": 1.0}
    request = WorkerRequest(job=pair, device="cuda:0", peers=("cuda:1",), uuids={"cuda:0": "GPU-0"}, **asked)
    claims = BoardClaims(agent="one", board=board(pair), store=Store(tmp_path), places=2)
    assert claims.placed(request) == request
    claims.groups = Reserved(0, gpus=("5", "GPU-7"))
    there = claims.placed(request)
    assert (there.device, there.peers) == ("cuda:5", ("cuda:GPU-7",))
    assert there.uuids == {"cuda:5": "5", "cuda:GPU-7": "GPU-7"}
    claims.groups.names = ()
    assert claims.placed(request) == request


@pytest.mark.slow
@pytest.mark.usefixtures("_server")
def test_jobs_wait_for_devices_and_give_them_back_however_they_end(tmp_path: Path) -> None:
    pair, bad, one = replace(job("pair", seconds=0.1), devices=2), job("bad", fails=True), job("one")
    lost = job("lost", bad)
    shared = board(pair, bad, one, lost, agents={"x": 0})
    shared.lose("x", "")
    groups = Reserved(2)
    groups.has["others"] = [{"CPU": 1.0}]  # somebody else's
    machine = Machine(devices=(Device(name="cpu", units=2, memory=100),), cores=2)
    settings = EngineSettings(store=Store(tmp_path), cache=tmp_path / "cache")
    agent = threading.Thread(
        target=take_part, args=("one", shared, settings, machine), kwargs={"host": "h", "groups": groups}
    )
    agent.start()
    deadline = time.monotonic() + 60
    while not (
        {("free", bad.id), ("free", one.id)} <= {*groups.log} and pair.id in {*groups.waits} - groups.has.keys()
    ):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    groups.has.pop("others")
    agent.join(60)
    assert not agent.is_alive()
    assert groups.log[-2:] == [("has", pair.id), ("free", pair.id)]
    ended = {event.job: event.kind for event, _ in shared.news() if event.kind in ("finished", "failed", "skipped")}
    assert ended == {pair.id: "finished", one.id: "finished", bad.id: "failed", lost.id: "skipped"}


@pytest.fixture
def _server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    monkeypatch.setattr(Server, "command", (sys.executable, "-P", str(script)))


@pytest.mark.slow
@pytest.mark.usefixtures("_server")
def test_records_reach_nodes_that_share_no_disk(tmp_path: Path) -> None:
    a, b, bad = job("a", seconds=0.3), job("b", seconds=0.3), job("bad", fails=True)
    jobs = [a, b, bad, job("c", a, b), job("d", a, b), job("lost", bad)]
    shared = board(*jobs, agents={"x": 0})
    shared.lose("x", "")
    nodes = Nodes(shared, tmp_path, p=1, q=1)
    nodes.join()
    news = shared.news()
    ended = {event.job: event.kind for event, _ in news if event.kind in ("finished", "failed", "skipped")}
    assert ended == {j.id: "finished" for j in jobs} | {bad.id: "failed", jobs[-1].id: "skipped"}
    assert {event.kind for event, _ in news} == {"started", "finished", "failed", "skipped"}, "nothing was done again"
    assert sum(event.kind == "finished" for event, _ in news) == 4
    assert {event.device for event, _ in news if event.kind == "started"} == {"cpu on host-p", "cpu on host-q"}
    for event, record in news:
        if event.kind in ("finished", "failed"):
            kind, key = event.job.split("/")
            paths = [store.job_folder(kind, key) / RECORD for store in nodes.stores.values()]
            assert any(path.exists() and path.read_bytes() == record for path in paths)
    assert all(store.load(a.kind, a.key) for store in nodes.stores.values())


@pytest.mark.slow
@pytest.mark.usefixtures("_server")
def test_a_job_for_two_devices_waits_for_the_node_that_has_them(tmp_path: Path) -> None:
    before = job("before", seconds=0.2)
    pair, after = replace(job("pair", before), devices=2), job("after", before)
    shared = board(before, pair, after, agents={"x": 0})
    shared.lose("x", "")
    assert shared.most_places() == 0
    nodes = Nodes(shared, tmp_path, p=1, q=2)
    nodes.join()
    assert shared.most_places() == 2
    news = [event for event, _ in shared.news()]
    assert [event.device for event in news if event.kind == "started" and event.job == pair.id] == ["cpu on host-q"]
    assert {event.job for event in news if event.kind == "finished"} == {before.id, pair.id, after.id}


@pytest.mark.usefixtures("_server")
def test_a_run_that_stops_stops_its_agents(tmp_path: Path) -> None:
    a = job("a", seconds=60)
    shared = board(a)
    nodes = Nodes(shared, tmp_path, p=1)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("p/jobs/fake/*/log/*.log")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    shared.stop()
    nodes.join()
    assert told(shared) == [("started", a.id)]


def test_a_node_has_no_more_than_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = Device(name="cpu", units=8, memory=100)
    monkeypatch.setattr(board_module.hardware, "machine", lambda *_, **__: Machine(devices=(cpu,), cores=8))
    settings = EngineSettings(store=Store(tmp_path), cache=tmp_path / "cache", devices="cpu")
    mark = tmp_path / "mark"
    mark.touch()
    assert node_machine(settings, cores=2, memory=70, mark=mark) == Machine(
        devices=(Device(name="cpu", units=2, memory=70),), cores=2
    )
    assert node_machine(settings, cores=9, memory=None, mark=mark).devices == (cpu,)


def test_a_node_that_can_t_take_part_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "SIGHT_SECONDS", 0.0)
    settings = EngineSettings(store=Store(tmp_path), cache=tmp_path / "mark" / "cache", devices="tpu")
    mark = tmp_path / "mark"
    with pytest.raises(UnfitNodeError, match=r"is not the folder that the run writes to; all nodes have to share it$"):
        node_machine(settings, cores=1, memory=None, mark=mark)
    mark.touch()
    with pytest.raises(UnfitNodeError, match=r"^the cache .*mark/cache can't be written: Not a directory$"):
        node_machine(settings, cores=1, memory=None, mark=mark)
    mark.unlink()
    mark.mkdir()
    with pytest.raises(UnfitNodeError, match=r"^--devices tpu: expected auto"):
        node_machine(settings, cores=1, memory=None, mark=mark)
