"""Looking in: what status, logs, retry and cancel make of what runs leave in a folder."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from latentbench.bench import cli
from latentbench.bench.engines.interface import EngineSettings
from latentbench.bench.engines.leases import LeaseClaims
from latentbench.bench.hardware import Device, Machine
from latentbench.bench.jobs import Job
from latentbench.bench.plan import Plan, make_plan
from latentbench.bench.plan_file import write_plan
from latentbench.bench.status import status
from latentbench.bench.suite import load_suite
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
    assert cli.main(["status", str(tmp_path), "--live", "--every", "0.01"]) == 0
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
