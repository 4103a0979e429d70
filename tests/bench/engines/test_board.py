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
from latentbench.bench.engines.board import Board, UnfitNodeError, Work, node_machine, take_part
from latentbench.bench.engines.client import Server
from latentbench.bench.engines.interface import EngineSettings, Event
from latentbench.bench.hardware import Device, Machine
from latentbench.bench.jobs import Job
from latentbench.bench.plan_file import job_to_json
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
