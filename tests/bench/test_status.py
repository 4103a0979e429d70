"""Looking in: what status, logs, retry and cancel make of what runs leave in a folder."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from latentbench.bench import cli
from latentbench.bench.engines.interface import EngineSettings
from latentbench.bench.engines.leases import LeaseClaims
from latentbench.bench.folder_lock import locked
from latentbench.bench.hardware import Device, Machine
from latentbench.bench.jobs import Job
from latentbench.bench.plan import Plan, make_plan
from latentbench.bench.plan_file import read_plans, write_plan
from latentbench.bench.runner import run_suite
from latentbench.bench.status import status
from latentbench.bench.suite import load_suite
from latentbench.results.activity import LOCK
from latentbench.results.errors import UserError
from latentbench.results.record import Failure, Record
from latentbench.results.store import Store

SUITE = {"name": "looked-at", "data": {"size": 16}, "tokenizers": [{"recipe": "pca", "channels": 4}]}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    made = make_plan(load_suite(SUITE), {"shapes": "abc"})
    write_plan(made, "leases", EngineSettings(store=Store(tmp_path), cache=tmp_path / "cache"))
    return made


def save(out: Path, job: Job, **options: object) -> Record:
    record = Record(**{"kind": job.kind, "key": job.key, "status": "finished"} | options)
    Store(out).save(record)
    return record


def of_kind(plan: Plan, kind: str) -> Job:
    return next(job for job in plan.jobs.values() if job.kind == kind)


def fail(out: Path, job: Job) -> None:
    save(out, job, status="failed", error=Failure(type="ValueError", message="bad [/luck]"), run={"seconds": 5.0})


def test_jobs_are_counted_by_what_became_of_them(plan: Plan, tmp_path: Path) -> None:
    save(tmp_path, of_kind(plan, "data"), run={"seconds": 2.5})
    broken = of_kind(plan, "tokenizer")
    fail(tmp_path, broken)
    found = status(tmp_path)
    needing = {broken.id}
    for name, job in plan.jobs.items():
        if needing & set(job.depends.values()):
            needing.add(name)
    assert (found.jobs, found.finished, found.skipped) == (len(plan.jobs), 1, len(needing) - 1)
    assert found.waiting == len(plan.jobs) - 1 - len(needing)
    assert found.failed[broken.id]["cause"] == "ValueError: bad [/luck]"
    assert found.seconds == 7.5
    assert found.seconds_by_kind == {"data": 2.5, "tokenizer": 5.0}


def test_what_is_done_below_a_failed_job_is_not_counted_twice(plan: Plan, tmp_path: Path) -> None:
    broken = of_kind(plan, "tokenizer")
    below = [job for job in plan.jobs.values() if broken.id in job.depends.values()]
    save(tmp_path, below[0])
    fail(tmp_path, broken)
    counted = status(tmp_path)
    assert (counted.finished, len(counted.failed)) == (1, 1)
    assert counted.finished + len(counted.failed) + counted.skipped + counted.waiting == counted.jobs
    needing = {broken.id}
    for name, job in plan.jobs.items():
        if name != below[0].id and needing & set(job.depends.values()):
            needing.add(name)
    assert counted.skipped == len(needing) - 1


def test_who_is_at_work_is_seen_with_what(plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = Machine(devices=(Device(name="cpu", units=2, memory=100),), cores=2)
    claims = LeaseClaims(store=Store(tmp_path), machine=machine, expiry=60.0)
    claims.open()
    job = of_kind(plan, "data")
    assert claims.take(job, device="cpu")
    (Store(tmp_path).job_folder(job.kind, job.key) / "progress").write_text("3 12 decoding")
    (running,) = status(tmp_path).running
    assert (running.job, running.device, running.done, running.total) == (job.id, "cpu", 3, 12)
    assert abs(running.since - time.time()) < 60
    assert cli.main(["status", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "cpu 1 of 2" in told
    assert f"running {job.title}" in told
    assert "25 %" in told
    claims.close()
    assert status(tmp_path).running == ()


def test_json_and_text_tell_of_failures(plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = of_kind(plan, "tokenizer")
    fail(tmp_path, job)
    assert cli.main(["status", str(tmp_path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["failed"][job.id]["title"] == job.title
    assert cli.main(["status", str(tmp_path)]) == 1
    assert "bad [/luck]" in capsys.readouterr().out


def test_live_ends_with_the_run(plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for job in plan.jobs.values():
        save(tmp_path, job)
    assert cli.main(["status", str(tmp_path), "--live", "--every", "0.1"]) == 0
    assert f"{len(plan.jobs)} finished" in capsys.readouterr().out


def test_a_log_is_found_by_id_key_beginning_or_title(
    plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = of_kind(plan, "tokenizer")
    folder = Store(tmp_path).job_folder(job.kind, job.key) / "log"
    folder.mkdir(parents=True)
    for attempt in (1, 2):
        (folder / f"attempt-{attempt}.log").write_text(f"attempt {attempt}\n")
        os.utime(folder / f"attempt-{attempt}.log", (attempt, attempt))
    for name in (job.id, job.key, job.key[:9], job.title):
        assert cli.main(["logs", str(tmp_path), name]) == 0
        assert capsys.readouterr().out.endswith("attempt 2\n")
    assert cli.main(["logs", str(tmp_path), job.id, "--all"]) == 0
    assert capsys.readouterr().out.index("attempt 1\n") > 0
    assert cli.main(["logs", str(tmp_path), of_kind(plan, "data").id]) == 2
    assert "it has no log" in capsys.readouterr().err
    assert cli.main(["logs", str(tmp_path), f"{job.id[:-1]}?"]) == 2
    assert f"did you mean '{job.id}'" in capsys.readouterr().err
    assert cli.main(["logs", str(tmp_path), "a"]) == 2
    assert "'a' means" in capsys.readouterr().err


def test_failures_are_forgotten_and_nothing_else(plan: Plan, tmp_path: Path) -> None:
    data, tokenizer = of_kind(plan, "data"), of_kind(plan, "tokenizer")
    save(tmp_path, data)
    fail(tmp_path, tokenizer)
    assert cli.main(["retry", str(tmp_path), "--job", data.id]) == 0
    assert status(tmp_path).finished == 1
    assert cli.main(["retry", str(tmp_path), "--failed"]) == 0
    found = status(tmp_path)
    assert (found.finished, len(found.failed)) == (1, 0)


def test_a_cancelled_job_and_those_that_need_it_are_left_out(
    plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = of_kind(plan, "tokenizer")
    assert cli.main(["cancel", str(tmp_path), job.id]) == 0
    found = status(tmp_path)
    assert found.cancelled == 1
    assert found.skipped > 0
    assert found.failed.keys() == found.cancelled_jobs.keys() == {job.id}
    capsys.readouterr()
    assert cli.main(["status", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert f"  cancelled {job.title} [{job.id}]" in told
    assert "failed" not in told
    assert cli.main(["status", str(tmp_path), "--json"]) == 0
    assert [*json.loads(capsys.readouterr().out)["cancelled_jobs"]] == [job.id]
    machine = Machine(devices=(Device(name="cpu", units=1, memory=100),), cores=1)
    claims = LeaseClaims(store=Store(tmp_path), machine=machine, expiry=60.0)
    claims.open()
    assert not claims.take(job, device="cpu")
    assert [record.status for _, record in claims.ended({job.id: job})] == ["failed"]
    claims.close()
    assert cli.main(["cancel", str(tmp_path), job.id]) == 2
    assert "has ended already" in capsys.readouterr().err
    assert cli.main(["retry", str(tmp_path), "--failed"]) == 0
    assert status(tmp_path).cancelled == 0


def test_a_folder_of_before_plans_were_kept(tmp_path: Path) -> None:
    plan = make_plan(load_suite(SUITE), {"shapes": "abc"})
    Store(tmp_path).write_suite("old", [cell.to_json() for cell in plan.cells])
    assert status(tmp_path).jobs == len(plan.jobs)


def test_a_folder_without_a_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, reason in ((tmp_path / "none", "no such folder"), (tmp_path, "no run has been planned here")):
        assert cli.main(["status", str(folder)]) == 2
        assert reason in capsys.readouterr().err


def at_work(root: Path, job: Job, *, ago: float, first: tuple[int, float] | None, done: int, total: int) -> None:
    """The folder of a job whose attempt began so many seconds ago, and which had its `first` steps so many ago."""
    folder, now = Store(root).job_folder(job.kind, job.key), time.time()
    (folder / "log").mkdir(parents=True)
    for name in ("config.json", "log/attempt-1.log"):
        (folder / name).write_text("{}")
        os.utime(folder / name, (now - ago, now - ago))
    os.utime(folder / "log" / "attempt-1.log")
    (folder / "progress").write_text(f"{done} {total} loss 1")
    if first is not None:
        (folder / "progress.began").write_text(f"{first[0]} {total} ")
        os.utime(folder / "progress.began", (now - first[1], now - first[1]))


@contextmanager
def local_run(root: Path, *, hours: float) -> Iterator[None]:
    """A run of another engine than `leases` that has worked on the folder for so long."""
    with (root / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.utime(root / LOCK, (time.time() - 3600 * hours,) * 2)
        yield


def test_a_jobs_own_start_counts_and_not_its_runs(plan: Plan, tmp_path: Path) -> None:
    """Three seconds old, at 18 %, in a run of five hours: 14 s are left and not 23 hours."""
    job = of_kind(plan, "tokenizer")
    for other in plan.jobs.values():
        if other.id != job.id:
            save(tmp_path, other, run={"seconds": 1.0})
    at_work(tmp_path, job, ago=3.0, first=(0, 3.0), done=18, total=100)
    with local_run(tmp_path, hours=5):
        found = status(tmp_path)
    (running,) = found.running
    assert 2.5 < running.seconds < 60
    assert found.running_seconds == running.seconds
    assert 10 < found.left < 300


def test_a_resumed_job_goes_on_at_its_own_pace(plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = of_kind(plan, "tokenizer")
    for other in plan.jobs.values():
        if other.id != job.id:
            save(tmp_path, other, run={"seconds": 1.0})
    at_work(tmp_path, job, ago=120.0, first=(50, 100.0), done=60, total=100)
    with local_run(tmp_path, hours=5):
        found = status(tmp_path)
        assert cli.main(["status", str(tmp_path)]) == 0
    assert (found.running[0].first, found.running[0].done) == (50, 60)
    assert 390 < found.left < 520  # and not 67 or 80
    told = capsys.readouterr().out
    assert "0:02 of work so far (0:02 of it by jobs at work); about 0:07 left" in told
    (Store(tmp_path).job_folder(job.kind, job.key) / "progress.began").unlink()  # of an attempt without any yet
    with local_run(tmp_path, hours=5):
        assert status(tmp_path).left is None  # 60 % in 120 s is not this attempt's


@pytest.mark.parametrize("ahead", [600.0, -600.0])
def test_a_readers_clock_says_nothing_of_who_lives(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    machine = Machine(devices=(Device(name="cpu", units=2, memory=100),), cores=2)
    claims = LeaseClaims(store=Store(tmp_path), machine=machine, expiry=60.0)
    claims.open()
    job = of_kind(plan, "data")
    assert claims.take(job, device="cpu")
    at_work(tmp_path, job, ago=30.0, first=None, done=0, total=0)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + ahead)
    (running,) = status(tmp_path).running
    assert running.job == job.id
    assert 29 < running.seconds < 90
    assert cli.main(["cancel", str(tmp_path), job.id]) == 2
    with pytest.raises(UserError, match="is working on it"), locked(tmp_path):
        pass
    monkeypatch.setattr(time, "time", real)
    beat = claims.heartbeat.path
    os.utime(beat, (real() - 600,) * 2)
    beat.write_bytes(beat.read_bytes().replace(b'"boot"', b'"else"'))  # as of another machine
    os.utime(beat, (real() - 600,) * 2)
    assert status(tmp_path).running == ()
    claims.close()


def test_where_the_disk_tells_no_time_the_readers_clock_counts_and_is_named(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine(devices=(Device(name="cpu", units=2, memory=100),), cores=2)
    claims = LeaseClaims(store=Store(tmp_path), machine=machine, expiry=60.0)
    claims.open()
    monkeypatch.setattr("latentbench.bench.status.disk_time", lambda folder: None)
    assert cli.main(["status", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert f"{tmp_path} can't be written to: times are judged by this machine's clock" in told
    assert "cpu 0 of 2" in told
    claims.close()
    assert status(tmp_path).note == ""
    assert not list(tmp_path.rglob(".clock*"))


def test_who_only_plans_leaves_cancelled_what_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "my out"
    (tmp_path / "s.toml").write_text("""
name = "s"
data = { size = 16, samples = 8, val = 8 }
tokenizers = [{ recipe = "pca", channels = 4 }]
features = []
tasks = ["reconstruction"]
""")
    line = ["run", str(tmp_path / "s.toml"), "--engine", "leases", "--plan-only", "--out", str(out)]
    assert cli.main(line) == 0
    told = capsys.readouterr()
    jobs = status(out).jobs
    assert f"{jobs} jobs to do, 0 finished already" in told.err
    assert f"latentbench work '{out}'" in told.out
    plan = read_plans(Store(out))[0]
    cancelled, failed = [*plan.jobs.values()][:2]
    assert cli.main(["cancel", str(out), cancelled.id]) == 0
    fail(out, failed)
    capsys.readouterr()
    assert cli.main(line) == 0
    told_err = " ".join(capsys.readouterr().err.split())
    assert (
        f"1 job stays cancelled; `latentbench retry '{out}' --failed` has all that failed or was cancelled" in told_err
    )
    assert [*status(out).failed] == [cancelled.id]
    # another form of the suite: its own jobs are counted, and no other
    (tmp_path / "s.toml").write_text((tmp_path / "s.toml").read_text().replace("channels = 4", "channels = 8"))
    capsys.readouterr()
    assert cli.main(line) == 0
    changed = read_plans(Store(out))[0].jobs
    assert changed.keys() != plan.jobs.keys()
    assert status(out).jobs == len(changed)


@pytest.mark.parametrize("engine", ["local", "leases"])
def test_retry_says_what_does_it_again(
    plan: Plan, tmp_path: Path, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_plan(plan, engine, EngineSettings(store=Store(tmp_path), cache=tmp_path / "cache"))
    fail(tmp_path, of_kind(plan, "tokenizer"))
    assert cli.main(["retry", str(tmp_path), "--failed"]) == 0
    told = capsys.readouterr().out
    assert "1 failure forgotten; " in told
    assert ("latentbench work" in told) == (engine == "leases")
    assert "`latentbench run`" in told
    assert cli.main(["retry", str(tmp_path), "--failed"]) == 0
    assert capsys.readouterr().out == "0 failures forgotten\n"
    machine = Machine(devices=(Device(name="cpu", units=2, memory=100),), cores=2)
    claims = LeaseClaims(store=Store(tmp_path), machine=machine, expiry=60.0)
    fail(tmp_path, of_kind(plan, "tokenizer"))
    claims.open()
    if engine == "leases":
        assert cli.main(["retry", str(tmp_path), "--failed"]) == 0
        assert "those who work there do them again" in capsys.readouterr().out
    claims.close()


UNHEEDED = [
    (["status", "DIR", "--json", "--live"], "not allowed with argument"),
    (["status", "DIR", "--live", "--every", "0"], "expected 0.1 to 86400 seconds, got '0'"),
    (["status", "DIR", "--every", "3"], "--every: is about --live"),
    (["work", "DIR", "--devices", "nonsense"], "expected auto, cpu, cuda"),
    (["run", "quickstart", "--out", "DIR", "--lease", "30"], "--lease: the engine local has none"),
    (["run", "quickstart", "--out", "DIR", "--address", "auto"], "--address: the engine local has none"),
    (["run", "quickstart", "--out", "DIR", "--engine", "leases", "--address", "x"], "it is for --engine ray"),
    (["run", "quickstart", "--out", "DIR", "--engine", "leases", "--lease", "1e12"], "expected 1 to 86400 seconds"),
    (["slurm", "quickstart", "--out", "DIR", "--lease", "inf"], "expected 1 to 86400 seconds"),
]


@pytest.mark.parametrize(("words", "reason"), UNHEEDED, ids=str)
def test_what_would_not_be_heeded_is_refused(
    plan: Plan, tmp_path: Path, words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = cli.main([str(tmp_path) if word == "DIR" else word for word in words])
    except SystemExit as exit:
        code = int(str(exit.code))
    assert code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert reason in told


def test_a_folder_that_is_no_option_is_called_none(
    plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked(tmp_path):
        for command in ("gc", "work"):
            assert cli.main([command, str(tmp_path)]) == 2
            assert capsys.readouterr().err == f"latentbench: {tmp_path}: another run is using it; wait for it\n"


def test_a_run_that_extends_a_suite_leaves_a_status_of_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    common = {"data": {"size": 16, "samples": 8, "val": 8}, "features": [], "tasks": ["reconstruction"]}
    jobs: set[str] = set()
    for channels in (4, 8):
        suite = {"name": "s", **common, "tokenizers": [{"recipe": "pca", "channels": channels}]}
        run_suite(suite, out=tmp_path / "out", engine="leases", devices="cpu", plan_only=True, extend=True)
        jobs |= read_plans(Store(tmp_path / "out"))[0].jobs.keys()
    assert status(tmp_path / "out").jobs == len(jobs)
