"""The local engine with jobs that do as they are told: scheduling, failures, deaths, stopping."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench.engines import engines, local
from latentbench.bench.engines.inline import InlineEngine
from latentbench.bench.engines.interface import EngineSettings, Event
from latentbench.bench.engines.local import LocalEngine
from latentbench.bench.engines.slots import SMALL_STEP
from latentbench.bench.hardware import Device, Machine
from latentbench.bench.jobs import Job
from latentbench.results.errors import UserError
from latentbench.results.record import Failure, Record
from latentbench.results.store import Store

from ..processes import alive, await_end, parent

# A server whose workers follow their job's configuration, and need no torch.
SERVER = """
import json, os, signal, sys, time
from pathlib import Path
from latentbench.bench import worker
from latentbench.bench.engines import server
from latentbench.bench.worker_protocol import BROKEN_DEVICE, OUT_OF_MEMORY, UNWRITABLE, write_shortage
from latentbench.bench.worker_protocol import ProgressFile, WorkerRequest
from latentbench.results.record import Failure, Record
from latentbench.results.store import Store

def work(data):
    request = WorkerRequest.from_json(data)
    job, do = request.job, request.job.config
    print("attempt", request.attempt, "threads", request.threads, flush=True)
    (request.folder / f"parts-{request.attempt}").write_text(f"{request.divide} {request.memory_fraction:g}")
    (request.folder / f"pid-{request.attempt}").write_text(str(os.getpid()))
    if request.peers:
        (request.folder / "peers").write_text(repr(list(request.peers)))
    (request.folder / "started").write_text(repr(time.monotonic()))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(75))
    if request.attempt <= do.get("deaths", 0):
        os.kill(os.getpid(), signal.SIGKILL)
    if request.divide < do.get("parts", 0):
        write_shortage(request.folder, "Tried to allocate 9.00 GiB")
        return OUT_OF_MEMORY
    if request.device in do.get("broken", ()):
        return BROKEN_DEVICE
    if do.get("stops") and request.attempt == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(60)
    if "progress" in do:
        ProgressFile(request.folder)(*do["progress"])
    deadline = time.monotonic() + do.get("seconds", 0)
    while time.monotonic() < deadline:
        time.sleep(0.01)
    (request.folder / "ended").write_text(repr(time.monotonic()))
    if "exit" in do:
        return do["exit"]
    error = Failure(type="ValueError", message=do["error"]) if "error" in do else None
    status = "failed" if error else "finished"
    Store(request.root).save(Record(kind=job.kind, key=job.key, status=status, config=do, error=error))
    return UNWRITABLE if do.get("unwritable") else 1 if error else 0

worker.preload = lambda: None
worker.work = work
if Path("@FLAG@").exists():
    sys.exit(3)
server.main()
"""


@pytest.fixture
def out(tmp_path: Path, fork_servers: Callable[[str], None]) -> Path:
    """An output folder, for an engine whose workers are the ones above."""
    fork_servers(SERVER.replace("@FLAG@", str(tmp_path / "broken")))
    return tmp_path / "out"


def job(name: str, *needs: Job, step_flops: float = 0.0, memory: int = 1, **do: Any) -> Job:
    depends = {f"need{i}": need.id for i, need in enumerate(needs)}
    config = {"name": name, **do}
    return Job(
        kind="fake", config=config, versions={}, depends=depends, title=name, step_flops=step_flops, memory=memory
    )


def engine(out: Path, *, units: int = 2, memory: int = 100) -> LocalEngine:
    machine = Machine(devices=(Device(name="cpu", units=units, memory=memory),), cores=8)
    local_engine = LocalEngine(EngineSettings(store=Store(out), cache=out / "cache", devices="cpu"))
    local_engine.machine = machine
    return local_engine


def run(out: Path, *jobs: Job, **options: Any) -> list[Event]:
    return list(engine(out, **options).run({job.id: job for job in jobs}))


def told(events: list[Event], job: Job) -> list[str]:
    return [event.kind for event in events if event.job == job.id]


def folder(out: Path, job: Job) -> Path:
    return Store(out).job_folder(job.kind, job.key)


def pid(out: Path, job: Job, attempt: int = 1) -> int:
    """The worker's process, once it has started."""
    path = folder(out, job) / f"pid-{attempt}"
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, "the worker has not started"
        time.sleep(0.01)
    return int(path.read_text())


def test_it_is_registered() -> None:
    assert engines.get("local") is LocalEngine
    with pytest.raises(UserError, match=r"^--engine: unknown engine 'lokal'; did you mean 'local'?"):
        engines.get("lokal", where="--engine")


@pytest.mark.parametrize(
    ("devices", "there"),
    [(("cpu",), "1 CPU core"), (("cuda:0", "cuda:1"), "2 CUDA devices")],
)
def test_more_devices_than_there_are_is_one_line(out: Path, devices: tuple[str, ...], there: str) -> None:
    local_engine = engine(out)
    local_engine.device = devices[0].partition(":")[0]
    several = tuple(Device(name=name, units=4, memory=100) for name in devices)
    local_engine.machine = Machine(devices=several, cores=1)
    shared = Job(kind="tokenizer", config={}, versions={}, title="tokenizer a", devices=3)
    with pytest.raises(UserError, match=rf"^tokenizer a: training.devices = 3, and this run has {there}$"):
        local_engine.check([shared])
    local_engine.check([replace(shared, devices=len(devices))])
    with pytest.raises(UserError, match=r"^tokenizer a: training.devices = 3, and this engine gives a job one device$"):
        InlineEngine(local_engine.settings).check([shared])


def test_a_worker_is_told_what_shares_its_job(out: Path) -> None:
    shared = replace(job("a"), devices=2)
    assert told(run(out, shared), shared) == ["started", "finished"]
    assert (folder(out, shared) / "peers").read_text() == "['cpu']"


def test_jobs_run_after_what_they_need(out: Path) -> None:
    a = job("a", seconds=0.2)
    b = job("b", a)
    c = job("c", a, b)
    events = run(out, a, b, c)
    assert [(e.kind, e.job) for e in events] == [(kind, j.id) for j in (a, b, c) for kind in ("started", "finished")]
    assert events[0].device == "cpu"
    assert events[1].seconds >= 0.2


def test_nothing_to_do_starts_nothing(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "Server", None)
    assert run(out) == []


def test_a_failure_is_recorded_and_the_others_carry_on(out: Path) -> None:
    bad, good = job("bad", error="out of\nluck"), job("good", seconds=0.1)
    below, further = job("below", bad), job("further", good)
    lost = job("lost", below, good)
    events = run(out, bad, good, below, further, lost)
    assert told(events, bad) == ["started", "failed"]
    assert told(events, good) == told(events, further) == ["started", "finished"]
    assert told(events, below) == told(events, lost) == ["skipped"]
    messages = {event.job: event.message for event in events if event.kind in ("failed", "skipped")}
    assert messages == {bad.id: "ValueError: out of luck", below.id: f"{bad.id} failed", lost.id: f"{below.id} failed"}


def test_a_worker_that_dies_is_started_again(out: Path) -> None:
    a = job("a", deaths=2)
    b = job("b", a)
    events = run(out, a, b)
    assert told(events, a) == ["started", "retried", "started", "retried", "started", "finished"]
    assert told(events, b) == ["started", "finished"]
    assert events[1].message == "killed (by signal 9: someone's kill, or out of memory)"
    logs = sorted((folder(out, a) / "log").iterdir())
    assert [log.name for log in logs] == ["attempt-1.log", "attempt-2.log", "attempt-3.log"]
    assert logs[2].read_text() == "attempt 3 threads 1\n"


@pytest.mark.parametrize(
    ("do", "cause"),
    [
        ({"deaths": 9}, "killed (by signal 9: someone's kill, or out of memory)"),
        ({"exit": 7}, "ended with exit code 7 and without a record"),
        ({"exit": 75}, "stopped by someone's SIGTERM"),
    ],
)
def test_a_worker_that_keeps_dying_is_a_failure(out: Path, do: dict[str, Any], cause: str) -> None:
    a, b = job("a", **do), job("b")
    events = run(out, a, b)
    assert told(events, a) == ["started", "retried", "started", "retried", "started", "failed"]
    assert told(events, b) == ["started", "finished"]
    record = Store(out).load_any(a.kind, a.key)
    assert record is not None
    assert record.error == Failure(type="WorkerDied", message=f"{cause}, 3 times")


def test_a_job_that_runs_out_of_memory_is_tried_alone_and_then_in_parts(out: Path) -> None:
    hungry, other, long = job("hungry", parts=2), job("other", seconds=0.2), job("long", seconds=1.0)
    later = [job(f"later-{i}", seconds=0.1) for i in range(3)]
    events = run(out, hungry, long, other, *later, memory=10**9)
    assert told(events, hungry) == ["started", "retried", "started", "retried", "started", "finished"]
    first, second = (event.message for event in events if event.kind == "retried")
    cause = "out of memory (cpu: 1 GB, foretold 1e-09 GB): Tried to allocate 9.00 GiB"
    assert first == f"{cause}; next alone on the device with the most memory"
    assert second == f"{cause}; next alone on the device with the most memory, in 2 parts"
    assert [(folder(out, hungry) / f"parts-{n}").read_text() for n in (1, 2, 3)] == ["1 1", "1 1", "2 1"]
    (begin, end), *others = spans(out, [hungry, long, other, *later])
    assert all(last <= begin or first >= end for first, last in others), "nothing ran beside it"
    assert told(events, later[-1]) == ["started", "finished"]
    assert not (folder(out, hungry) / "out-of-memory").exists()


def test_a_job_that_no_memory_is_enough_for_fails_with_the_numbers(out: Path) -> None:
    hungry, other = job("hungry", parts=99), job("other")
    events = run(out, hungry, other, memory=10**9)
    assert told(events, hungry) == ["started", *["retried", "started"] * 3, "failed"]
    assert told(events, other) == ["started", "finished"]
    record = Store(out).load_any(hungry.kind, hungry.key)
    assert record is not None
    assert record.error == Failure(
        type="OutOfMemory",
        message="out of memory (cpu: 1 GB, foretold 1e-09 GB): Tried to allocate 9.00 GiB; it was alone there, its "
        "batches in 8 parts if they can be",
    )


def test_a_job_that_the_system_ends_for_lack_of_memory_is_tried_alone(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = itertools.count()
    monkeypatch.setattr(local.hardware, "oom_kills", lambda: next(counts))
    a = job("a", deaths=1)
    events = run(out, a)
    assert told(events, a) == ["started", "retried", "started", "finished"]
    assert "the system ended it, for memory had run out; next alone" in events[1].message


@pytest.mark.slow
def test_a_device_with_two_errors_in_a_row_gets_no_more_jobs(out: Path) -> None:
    jobs = [job(f"job-{i}", broken=["cuda:1"], seconds=0.2) for i in range(8)]
    local_engine = engine(out)
    devices = tuple(Device(name=f"cuda:{i}", units=1, memory=100) for i in range(2))
    local_engine.machine = Machine(devices=devices, cores=8, host_threads=1)
    events = list(local_engine.run({job.id: job for job in jobs}))
    assert sum(event.kind == "finished" for event in events) == 8
    messages = [event.message for event in events if event.kind == "retried"]
    assert messages == [
        "error of the device cuda:1 (it stands in the job's log)",
        "error of the device cuda:1 (it stands in the job's log), 2 in a row: cuda:1 gets no more jobs in this run",
    ]


def test_the_only_device_stays_in_service(out: Path) -> None:
    a, b = job("a", broken=["cpu"]), job("b")
    events = run(out, a, b)
    assert told(events, a) == ["started", "retried", "started", "retried", "started", "failed"]
    assert told(events, b) == ["started", "finished"]


@pytest.mark.slow
def test_a_worker_killed_from_outside_is_started_again(out: Path) -> None:
    a, b = job("a", seconds=1.0), job("b", seconds=1.0)
    running = engine(out).run({a.id: a, b.id: b})
    events = [next(running), next(running)]
    os.kill(pid(out, a), signal.SIGKILL)
    events += running
    assert told(events, a) == ["started", "retried", "started", "finished"]
    assert told(events, b) == ["started", "finished"]


@pytest.mark.slow
def test_a_killed_server_takes_its_workers_along_and_is_started_again(out: Path) -> None:
    a, b = job("a", seconds=1.0), job("b", seconds=1.0)
    c = job("c", a, b)
    running = engine(out).run({j.id: j for j in (a, b, c)})
    events = [next(running), next(running)]
    workers = [pid(out, a), pid(out, b)]
    os.kill(parent(workers[0]), signal.SIGKILL)
    events.append(next(running))
    await_end(workers)  # the kernel tells them
    events += running
    assert told(events, a) == told(events, b) == ["started", "retried", "started", "finished"]
    assert told(events, c) == ["started", "finished"]
    assert "the job server died (exit status -9)" in next(e.message for e in events if e.kind == "retried")


@pytest.mark.slow
def test_a_server_s_death_is_not_its_jobs_fault(out: Path) -> None:
    a, quick = job("a", seconds=1.0, deaths=2), [job(f"quick{i}") for i in range(2)]
    running = engine(out).run({j.id: j for j in (*quick, a)})
    events = []
    for event in running:
        events.append(event)
        if event.kind == "started" and event.job == a.id and told(events, a).count("started") == 3:
            os.kill(parent(pid(out, a, 3)), signal.SIGKILL)
    assert told(events, a)[-4:] == ["started", "retried", "started", "finished"]


@pytest.mark.slow
def test_a_server_that_can_t_live_is_one_line(out: Path, tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    with pytest.raises(UserError, match=r"^the job server died \(exit status 3\), 3 times in a row; what it printed"):
        run(out, job("a"))
    assert not list(out.glob("jobs/*/*/record.json"))  # which is no finding about the job


def test_progress_is_passed_on(out: Path) -> None:
    a = job("a", seconds=0.6, progress=[30, 100, "loss 0.5, falling"])
    events = run(out, a)
    assert told(events, a) == ["started", "progress", "finished"]
    assert (events[1].done, events[1].total, events[1].message) == (30, 100, "loss 0.5, falling")


def spans(out: Path, jobs: list[Job]) -> list[tuple[float, float]]:
    read = lambda job, name: float((folder(out, job) / name).read_text())  # noqa: E731
    return [(read(job, "started"), read(job, "ended")) for job in jobs]


def most_at_once(spans: list[tuple[float, float]]) -> int:
    return max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)


@pytest.mark.slow
def test_as_many_small_jobs_as_units(out: Path) -> None:
    jobs = [job(f"j{i}", seconds=0.3) for i in range(5)]
    run(out, *jobs, units=2)
    assert most_at_once(spans(out, jobs)) == 2


def test_a_large_job_has_the_cpu_for_itself(out: Path) -> None:
    jobs = [job("small", seconds=0.2), job("large", seconds=0.2, step_flops=SMALL_STEP)]
    run(out, *jobs, units=2)
    assert most_at_once(spans(out, jobs)) == 1
    log = (folder(out, jobs[1]) / "log" / "attempt-1.log").read_text()
    assert "threads 8" in log  # all cores of the machine, whatever the number of units


@pytest.mark.slow
def test_closing_stops_the_workers(out: Path) -> None:
    a, b = job("a", seconds=60), job("b", seconds=60)
    running = engine(out).run({a.id: a, b.id: b})
    assert [next(running).kind, next(running).kind] == ["started", "started"]
    workers = [pid(out, a), pid(out, b)]
    server = parent(workers[0])
    time.sleep(0.2)  # until their signal handlers are in place
    started = time.monotonic()
    running.close()
    assert time.monotonic() - started < 5
    assert not any(map(alive, [*workers, server]))
    assert run(out, job("a"), job("b"))  # the folder can be used at once


def test_an_exception_in_the_loop_stops_the_workers_too(out: Path) -> None:
    a = job("a", seconds=60)

    def watch(events: Iterator[Event]) -> None:
        for event in events:
            pid(out, a)
            raise KeyboardInterrupt(event)

    running = engine(out).run({a.id: a})
    with pytest.raises(KeyboardInterrupt):
        watch(running)
    running.close()
    assert not alive(pid(out, a))


@pytest.mark.parametrize(
    ("do", "message"),
    [
        (
            {"unwritable": True, "error": "cannot write x: No space left on device"},
            "^a: cannot write x: No space left on device$",
        ),
        ({"exit": 74}, "^a: a file could not be written in .*: .* .log: .*attempt-1.log.$"),
    ],
)
def test_output_that_can_t_be_written_ends_the_run_at_once(out: Path, do: dict[str, Any], message: str) -> None:
    a, b, c = job("a", **do), job("b", seconds=60), job("c")
    with pytest.raises(UserError, match=message):
        run(out, a, b, c, units=2)
    begun = folder(out, b) / "pid-1"  # on a loaded machine b has not come to it, or was ended as it wrote
    number = begun.read_text() if begun.exists() else ""
    assert not (number and alive(int(number)))
    assert not (folder(out, c) / "started").exists()


def test_a_job_s_folder_that_can_t_be_made_is_one_line(out: Path) -> None:
    out.mkdir()
    (out / "jobs").write_text("in the way")
    with pytest.raises(UserError, match=r"^cannot write .*/jobs/fake/.*: Not a directory$"):
        run(out, job("a"))


def test_a_failure_of_old_says_nothing_about_this_attempt(out: Path) -> None:
    a = job("a", deaths=1)
    Store(out).save(Record(kind=a.kind, key=a.key, status="failed", error=Failure(type="Old", message="long ago")))
    assert told(run(out, a), a) == ["started", "retried", "started", "finished"]


def test_nothing_but_results_is_left_in_a_finished_job_s_folder(out: Path) -> None:
    a = job("a", progress=[1, 2, "x"])
    folder(out, a).mkdir(parents=True)
    (folder(out, a) / "checkpoint.safetensors").touch()
    run(out, a)
    names = {path.name for path in folder(out, a).iterdir()}
    assert names == {"log", "pid-1", "parts-1", "started", "ended", "record.json"}


def without_repeats(kinds: Iterable[str]) -> list[str]:
    """On a busy machine the first sign of life comes after a first warning, and there is a second."""
    return [kind for kind, _ in itertools.groupby(kinds)]


@pytest.mark.slow
def test_a_job_without_a_sign_of_life_is_ended_and_begun_again(out: Path) -> None:
    stuck = job("stuck", seconds=60)
    engine = LocalEngine(EngineSettings(store=Store(out), cache=out, devices="cpu", stall_seconds=1.0))
    events = list(engine.run({stuck.id: stuck}))
    told = without_repeats(event.kind for event in events if event.kind != "progress")
    assert told == ["started", "stalled", "retried"] * 2 + ["started", "stalled", "failed"]
    assert "no sign of life" in next(event.message for event in events if event.kind == "stalled")
    assert events[-1].message.startswith("WorkerDied: ended without a sign of life")
    logs = sorted((out / "jobs" / "fake" / stuck.key / "log").glob("*.log"))
    assert all("most recent call first" in log.read_text() for log in logs)


@pytest.mark.slow
def test_a_stopped_worker_is_ended_too(out: Path) -> None:
    stuck = job("stopped", stops=True)
    engine = LocalEngine(EngineSettings(store=Store(out), cache=out, devices="cpu", stall_seconds=1.0))
    events = list(engine.run({stuck.id: stuck}))
    told = without_repeats(event.kind for event in events)
    assert told == ["started", "stalled", "retried", "started", "finished"]


@pytest.mark.slow
def test_a_server_that_hangs_is_replaced(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentbench.bench.engines.client.PING_SECONDS", 0.2)
    monkeypatch.setattr("latentbench.bench.engines.client.SILENT_SECONDS", 1.0)
    monkeypatch.setattr("latentbench.bench.engines.client.START_SECONDS", 60.0)
    slow = job("slow", seconds=1)
    engine = LocalEngine(EngineSettings(store=Store(out), cache=out, devices="cpu"))
    kinds = []
    stopped = False
    for event in engine.run({slow.id: slow}):
        kinds.append(event.kind)
        if event.kind == "started" and not stopped:
            # it has started the job, so it has answered
            os.kill(parent(pid(out, slow)), signal.SIGSTOP)
            stopped = True
    assert kinds == ["started", "retried", "started", "finished"]
