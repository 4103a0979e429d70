"""Jobs shared by machines: each is taken by one, taken over after a death, and told to all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench.engines import engines, local
from latentbench.bench.engines import leases as leases_module
from latentbench.bench.engines.interface import EngineSettings, Event
from latentbench.bench.engines.leases import MOST_LEASES, LeaseClaims, LeaseEngine, LeaseLostError, leases
from latentbench.bench.hardware import Device, Machine
from latentbench.bench.jobs import Job
from latentbench.bench.worker_protocol import clean_attempt, start_attempt
from latentbench.results.activity import active, active_since
from latentbench.results.errors import UserError
from latentbench.results.record import Failure, Record
from latentbench.results.store import Store

# A server whose workers sleep and leave a record, and need no torch.
SERVER = """
import time
from pathlib import Path
from latentbench.bench import worker
from latentbench.bench.engines import server
from latentbench.bench.worker_protocol import WorkerRequest
from latentbench.results.record import Record
from latentbench.results.store import Store

def work(data):
    request = WorkerRequest.from_json(data)
    job = request.job
    time.sleep(job.config["seconds"])
    if not Path(request.lease).exists():
        return 75
    Store(request.root).save(Record(kind=job.kind, key=job.key, status="finished", config=job.config), replace=False)
    print("done", flush=True)
    return 0

worker.preload = lambda: None
worker.work = work
server.main()
"""
# One machine: its events, a line each.
MACHINE = """
import sys
sys.path.append(sys.argv[3])
from test_leases import engine, job
from latentbench.bench.engines.client import Server
from pathlib import Path
Server.command = (sys.executable, "-P", sys.argv[2])
jobs = [job(str(i), seconds=0.3) for i in range(8)]
for event in engine(Path(sys.argv[1])).run({job.id: job for job in jobs}):
    print(event.kind, event.job, flush=True)
"""
EXPIRY = 3.0


def job(name: str, *needs: Job, **config: Any) -> Job:
    depends = {f"need{i}": need.id for i, need in enumerate(needs)}
    return Job(kind="fake", config={"name": name, **config}, versions={}, depends=depends, title=name, memory=1)


def machine() -> Machine:
    return Machine(devices=(Device(name="cpu", units=1, memory=100),), cores=1)


def workers(job: Job, out: Path) -> list[int]:
    """The processes whose output leads into the job's log."""
    logs = str((out / "jobs" / job.id / "log").resolve())
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.readlink(process / "fd" / "1").startswith(logs):
                pids.append(int(process.name))
    return pids


def engine(out: Path) -> LeaseEngine:
    settings = EngineSettings(store=Store(out), cache=out / "cache", devices="cpu", lease_seconds=EXPIRY)
    lease_engine = LeaseEngine(settings)
    lease_engine.machine = machine()
    return lease_engine


def record(job: Job, **options: Any) -> Record:
    return Record(**{"kind": job.kind, "key": job.key, "status": "finished", "config": dict(job.config)} | options)


class Machines:
    """Claims of several machines on one folder, with a clock that the test moves."""

    def __init__(self, root: Path) -> None:
        self.root, self.now = root, 0.0
        self.all: list[LeaseClaims] = []

    def __call__(self) -> LeaseClaims:
        claims = LeaseClaims(store=Store(self.root), machine=machine(), expiry=3600.0)
        claims.observer.clock = lambda: self.now
        claims.open()
        self.all.append(claims)
        return claims


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    monkeypatch.setattr(leases_module, "_LOOK_SECONDS", 0.0)
    started = Machines(tmp_path)
    yield started
    for claims in started.all:
        claims.close()


def folder(root: Path, job: Job) -> Path:
    return Store(root).job_folder(job.kind, job.key)


def ended(claims: LeaseClaims, *jobs: Job) -> dict[str, str]:
    return {name: record.status for name, record in claims.ended({job.id: job for job in jobs})}


def test_a_job_is_one_machine_s(machines: Machines, tmp_path: Path) -> None:
    a, b, j = machines(), machines(), job("j")
    assert a.take(j, device="cpu")
    assert not b.take(j, device="cpu")
    assert a.lease(j) == str(folder(tmp_path, j) / "lease-1")
    a.keep({j.id: None})
    assert not b.take(j, device="cpu")
    a.keep({})  # given back: it was stopped
    assert leases(folder(tmp_path, j)) == {}
    assert b.take(j, device="cpu")


def test_what_others_do_is_known_before_anybody_asks_for_it(machines: Machines) -> None:
    one, other, a = machines(), machines(), job("a")
    assert not other.elsewhere(a)
    assert one.take(a, device="cpu")
    assert other.elsewhere(a)
    one.keep({})
    assert not other.elsewhere(a)


def test_a_job_that_others_have_done_is_told_and_not_taken(machines: Machines) -> None:
    a, good, bad, later = machines(), job("good"), job("bad"), job("later")
    below = job("below", later)
    store = Store(machines.root)
    store.save(record(good))
    store.save(record(bad, status="failed", error=Failure(type="ValueError", message="bad luck")))
    assert not a.take(good, device="cpu")
    assert ended(a, good, bad, later, below) == {good.id: "finished", bad.id: "failed"}
    store.save(record(below))  # of another run; what it needs is to be done again
    assert ended(a, later, below) == {}


def test_a_dead_machine_s_job_is_taken_over(machines: Machines, tmp_path: Path) -> None:
    dead, a, b, j = machines(), machines(), machines(), job("j")
    assert dead.take(j, device="cpu")
    # alive; silent for an hour and declared dead; given the time to notice
    for later in (3601.0, 59.0, 2.0):
        assert not a.take(j, device="cpu")
        machines.now += later
    assert a.take(j, device="cpu")
    assert list(leases(folder(tmp_path, j))) == [2]
    assert not b.take(j, device="cpu")
    assert not dead.heartbeat._renew()
    dead.close()
    machines.all.remove(dead)
    assert list(leases(folder(tmp_path, j))) == [2]  # its end takes nothing from the others


def test_leases_that_are_being_written_have_a_time_each(machines: Machines, tmp_path: Path) -> None:
    a, first, second = machines(), job("first"), job("second")
    for j in (first, second):
        folder(tmp_path, j).mkdir(parents=True)
    (folder(tmp_path, first) / "lease-1").touch()
    assert not a.take(first, device="cpu")
    machines.now += 3600.0
    (folder(tmp_path, second) / "lease-1").touch()
    assert not a.take(second, device="cpu")  # whoever makes it has just begun
    assert a.take(first, device="cpu")
    (folder(tmp_path, second) / "lease-1").unlink()
    (folder(tmp_path, second) / "lease-1").touch()
    os.utime(folder(tmp_path, second) / "lease-1", ns=(0, 0))  # another, of a later time
    machines.now += 3600.0
    assert not a.take(second, device="cpu")
    machines.now += 61.0
    assert a.take(second, device="cpu")


def test_a_lease_that_cannot_be_read_is_somebody_s(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, j = machines(), machines(), job("j")
    assert a.take(j, device="cpu")

    def refused(*_: object, **__: object) -> str:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(Path, "read_text", refused)
    assert not b.take(j, device="cpu")
    machines.now += 3600.0
    assert not b.take(j, device="cpu")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_lease_whose_temporary_file_is_removed(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """By another machine of an older version that clears the job's folder."""
    a, j, link = machines(), job("j"), os.link

    def removed(temporary: Path, path: Path) -> None:
        if moment == "before":
            Path(temporary).unlink()
        link(temporary, path)
        Path(temporary).unlink()

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", removed)
        assert a.take(j, device="cpu") is (moment == "after")
    assert a.take(j, device="cpu") is (moment == "before")


def test_who_clears_a_job_s_folder_leaves_others_leases(tmp_path: Path) -> None:
    for name in ("lease-1", "record.json"):
        (tmp_path / f".{name}.0123.latentbench-tmp").touch()
    clean_attempt(tmp_path, shared=True)
    assert [path.name for path in tmp_path.iterdir()] == [".lease-1.0123.latentbench-tmp"]
    clean_attempt(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_who_looked_too_long_ago_takes_nothing(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, j = machines(), job("j")
    folder(tmp_path, j).mkdir(parents=True)
    (folder(tmp_path, j) / "lease-3").write_text("somebody else\n")
    looks = iter([{}])
    monkeypatch.setattr(leases_module, "leases", lambda at: next(looks, None) or leases(at))
    monkeypatch.setattr(slow.observer, "alive", lambda name: True)
    assert not slow.take(j, device="cpu")
    assert list(leases(folder(tmp_path, j))) == [3]


def test_a_job_that_was_done_while_it_was_taken_is_given_back(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, j = machines(), job("j")
    done = iter([False])
    monkeypatch.setattr(LeaseClaims, "_done", lambda *_: next(done, True))
    assert not slow.take(j, device="cpu")
    assert leases(folder(tmp_path, j)) == {}


def test_a_damaged_record_is_in_nobody_s_way(machines: Machines, tmp_path: Path) -> None:
    a, j = machines(), job("j")
    folder(tmp_path, j).mkdir(parents=True)
    (folder(tmp_path, j) / "record.json").write_text('{"schema": 1, "kind')
    assert a.take(j, device="cpu")
    Store(tmp_path).save(record(j), replace=False)
    assert ended(a, j) == {j.id: "finished"}


def test_what_a_late_one_has_done_stays(machines: Machines, tmp_path: Path) -> None:
    a, j = machines(), job("j")
    assert a.take(j, device="cpu")
    Store(tmp_path).save(record(j, run={"host": "late"}), replace=False)  # by one that was taken for dead
    start_attempt(folder(tmp_path, j), alone=False)
    Store(tmp_path).save(record(j, run={"host": "new"}), replace=False)
    stored = Store(tmp_path).load(j.kind, j.key)
    assert stored is not None
    assert stored.run["host"] == "late"


def test_a_job_that_kills_whoever_takes_it_fails(machines: Machines, tmp_path: Path) -> None:
    a, j = machines(), job("j")
    folder(tmp_path, j).mkdir(parents=True)
    (folder(tmp_path, j) / f"lease-{MOST_LEASES}").write_text("long dead\n")
    assert not a.take(j, device="cpu")
    machines.now += 3600.0
    assert not a.take(j, device="cpu")
    failure = Store(tmp_path).outcome(j.kind, j.key)
    assert failure is not None
    assert str(failure.error).startswith(f"WorkerDied: the {MOST_LEASES} processes that ran it")
    assert ended(a, j) == {j.id: "failed"}


@pytest.mark.parametrize("status", ["finished", "failed"])
def test_what_a_dead_machine_left_of_a_finished_job_is_removed(machines: Machines, tmp_path: Path, status: str) -> None:
    dead, a, j = machines(), machines(), job("j")
    assert dead.take(j, device="cpu")
    (folder(tmp_path, j) / "progress").write_text("1 2 step")  # killed once its record was there
    (folder(tmp_path, j) / "checkpoint.safetensors").touch()
    failure = Failure(type="ValueError", message="no") if status == "failed" else None
    Store(tmp_path).save(record(j, status=status, error=failure), replace=False)
    assert ended(a, j) == {j.id: status}
    machines.now += 3601.0
    assert ended(a) == {}
    machines.now += 61.0
    assert ended(a) == {}
    left = {path.name for path in folder(tmp_path, j).iterdir()} - {"record.json", "log"}
    kept = {"progress", "checkpoint.safetensors"}  # to go on from, by `retry`
    assert left == (set() if status == "finished" else kept)


def test_those_who_look_see_who_is_at_work(machines: Machines, tmp_path: Path) -> None:
    assert active(tmp_path) == []
    a, j = machines(), job("j")
    a.take(j, device="cpu")
    (member,) = active(tmp_path)
    assert (member.pid, member.devices, list(member.running)) == (os.getpid(), {"cpu": 1}, [j.id])
    assert active_since(tmp_path) == member.since
    a.keep({})
    assert active(tmp_path)[0].running == {}


def test_who_is_taken_for_dead_gives_nothing_back(machines: Machines, tmp_path: Path) -> None:
    a, j = machines(), job("j")
    assert a.take(j, device="cpu")
    a.heartbeat.is_lost = True
    for use in (a.check, lambda: a.keep({}), lambda: a.take(job("k"), device="cpu")):
        with pytest.raises(LeaseLostError):
            use()
    a.close()
    machines.all.remove(a)
    assert list(leases(folder(tmp_path, j))) == [1]  # the others' by now, perhaps


def test_a_folder_that_cannot_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> list[str]:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(leases_module.os, "listdir", refused)
    with pytest.raises(UserError, match=r"^cannot read .*: Input/output error$"):
        leases(tmp_path)


@pytest.fixture
def server(tmp_path: Path, fork_servers: Callable[[str], None]) -> Path:
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    fork_servers(SERVER)
    return script


def until(reached: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_machine_that_stood_still_begins_again(tmp_path: Path, server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = job("a", seconds=0.5), job("b", seconds=0.0)
    checks = iter([False])
    check = leases_module.Heartbeat.check
    events: list[Event] = []
    for event in engine(tmp_path).run({a.id: a, b.id: b}):
        if not events:
            until(lambda: list(tmp_path.glob(f"jobs/{a.id}/log/*")))
            monkeypatch.setattr(leases_module.Heartbeat, "check", lambda self: next(checks, True) and check(self))
        events.append(event)
    assert [(event.kind, event.job) for event in events] == [
        *(("started", a.id), ("retried", a.id), ("started", a.id), ("finished", a.id)),
        *(("started", b.id), ("finished", b.id)),
    ]
    assert list(tmp_path.glob("workers/*")) == list(tmp_path.glob("jobs/*/*/lease-*")) == []
    assert len(list(tmp_path.glob(f"jobs/{a.id}/log/*"))) == 2


@pytest.mark.slow
def test_a_job_is_not_to_blame_that_ended_because_its_machine_stood_still(
    tmp_path: Path, server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = job("a", seconds=0.5)
    checks = iter([False])
    check = leases_module.Heartbeat.check
    monkeypatch.setattr(local, "ATTEMPTS", 1)
    events: list[Event] = []
    for event in engine(tmp_path).run({a.id: a}):
        if not events:
            until(lambda: workers(a, tmp_path))
            (worker,) = workers(a, tmp_path)
            os.kill(worker, signal.SIGKILL)
            until(lambda: not workers(a, tmp_path))
            time.sleep(0.1)  # the server has told it
            monkeypatch.setattr(leases_module.Heartbeat, "check", lambda self: next(checks, True) and check(self))
        events.append(event)
    assert [event.kind for event in events] == ["started", "retried", "started", "finished"]
    assert "gave no sign of life for too long" in events[1].message


@pytest.mark.slow
def test_two_processes_share_the_work_and_one_may_die(tmp_path: Path, server: Path) -> None:
    out = tmp_path / "out"
    script = tmp_path / "machine.py"
    script.write_text(MACHINE)
    command = [sys.executable, "-P", str(script), str(out), str(server), str(Path(__file__).parent)]
    first, second = (subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2))
    until(lambda: len(list(out.glob("jobs/*/*/record.json"))) >= 3)
    first.kill()
    told, _ = first.communicate(timeout=60)
    rest, _ = second.communicate(timeout=60)
    assert second.returncode == 0
    assert told.count("started") >= 1
    assert told.count("started") + rest.count("started") <= 9  # what the dead one was at, once more
    assert sorted(line for line in rest.splitlines() if line.startswith("finished")) == sorted(
        f"finished {job(str(i), seconds=0.3).id}" for i in range(8)
    )
    done = [sum(log.read_text().count("done") for log in path.glob("log/*")) for path in out.glob("jobs/fake/*")]
    assert len(done) == 8
    assert max(done) == 1
    assert list(out.glob("workers/*")) == list(out.glob("jobs/*/*/lease-*")) == []


def test_an_interrupt_gives_everything_back(tmp_path: Path, server: Path) -> None:
    a = job("a", seconds=60.0)
    events = engine(tmp_path).run({a.id: a})
    assert next(events).kind == "started"
    assert len(list(tmp_path.glob("jobs/*/*/lease-1"))) == 1
    events.close()
    assert list(tmp_path.glob("workers/*")) == list(tmp_path.glob("jobs/*/*/lease-*")) == []


def test_it_is_registered() -> None:
    assert engines.get("leases") is LeaseEngine
    assert LeaseEngine.shares


# A machine whose jobs fail as long as their configuration's file is not there.
FRAGILE = SERVER.replace(
    "    Store(request.root)",
    """    if job.config.get("unless") and not Path(job.config["unless"]).exists():
        from latentbench.results.record import Failure
        error = Failure(type="ValueError", message="not yet")
        failed = Record(kind=job.kind, key=job.key, status="failed", config=job.config, error=error)
        Store(request.root).save(failed, replace=False)
        return 1
    Store(request.root)""",
)


@pytest.fixture
def fragile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fragile.py").write_text(FRAGILE)
    monkeypatch.setattr(
        "latentbench.bench.engines.client.Server.command", (sys.executable, "-P", str(tmp_path / "fragile.py"))
    )
    monkeypatch.setattr(leases_module, "_RETRY_SECONDS", 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("busy", [True, False])
def test_a_failure_that_is_forgotten_is_done_again_by_those_at_work(tmp_path: Path, fragile: None, busy: bool) -> None:
    """While other jobs run, and at the end, before anything is said of failures."""
    mended = tmp_path / "mended"
    broken = job("broken", seconds=0.0, unless=str(mended))
    below = job("below", broken, seconds=0.0)
    beyond = job("beyond", below, seconds=0.0)
    jobs = [broken, below, beyond, *([job(f"long{i}", seconds=1.0) for i in range(4)] if busy else [])]
    told: list[tuple[str, str]] = []
    for event in engine(tmp_path / "out").run({j.id: j for j in jobs}):
        told.append((event.kind, event.job))
        if event.kind == "skipped" and event.job == beyond.id:
            mended.touch()
            store = Store(tmp_path / "out")
            record = store.load_any(broken.kind, broken.key)
            assert record is not None
            store.discard(record)
    for one in (broken, below, beyond):
        assert [
            kind for kind, name in told if name == one.id and kind in ("failed", "skipped", "retried", "finished")
        ] == [
            "failed" if one is broken else "skipped",
            "retried",
            "finished",
        ]
    if busy:
        assert told.index(("finished", broken.id)) < max(told.index(("finished", j.id)) for j in jobs[3:])


@pytest.mark.slow
def test_a_job_that_is_cancelled_is_told_so(tmp_path: Path, fragile: None) -> None:
    first, left_out = job("first", seconds=1.0), job("left out", seconds=0.0)
    needing = job("needing", left_out, seconds=0.0)
    error = Failure(type="Cancelled", message="by hand")
    Store(tmp_path / "out").save(record(left_out, status="failed", error=error))
    events = [*engine(tmp_path / "out").run({j.id: j for j in (first, left_out, needing)})]
    how = {event.job: event.kind for event in events if event.kind not in ("started", "progress")}
    assert how == {first.id: "finished", left_out.id: "cancelled", needing.id: "skipped"}


@pytest.mark.slow
def test_a_gate_decides_anew_when_what_failed_below_it_is_done_again(tmp_path: Path, fragile: None) -> None:
    mended, store = tmp_path / "mended", Store(tmp_path / "out")
    broken = job("broken", seconds=0.0, unless=str(mended))
    gate = Job(kind="gate", config={"seconds": 0.0}, versions={}, after=(broken.id,), memory=1)
    store.save(record(gate))
    machines = engine(tmp_path / "out")
    machines.finished = {gate.id: gate}
    told = []
    for event in machines.run({broken.id: broken}):
        told.append((event.kind, event.job))
        if event.kind == "failed":
            mended.touch()
            for one in (broken, gate):  # as `retry --failed` does where the gate has decided without it
                known = store.load_any(one.kind, one.key)
                assert known is not None
                store.discard(known)
    assert [kind for kind, name in told if name == gate.id and kind != "started"] == ["retried", "finished"]
    assert told[-1] == ("finished", gate.id)  # once what it ranks has ended
