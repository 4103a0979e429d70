"""Joining a run: processes that share a folder leave what one that works alone leaves."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from latentbench.bench import cli, plan_overview
from latentbench.bench.engines.interface import EngineSettings, Event
from latentbench.bench.engines.leases import LeaseEngine
from latentbench.bench.footprints import CONTEXT, Footprint, Footprints
from latentbench.bench.jobs import Job
from latentbench.bench.join import join
from latentbench.bench.plan import make_plan
from latentbench.bench.plan_file import read_plans, write_plan
from latentbench.bench.plan_overview import read_overview
from latentbench.bench.runner import run_suite
from latentbench.bench.suite import load_suite
from latentbench.results.canonical import compact
from latentbench.results.errors import UserError
from latentbench.results.store import Store

SUITE = {
    "name": "shared",
    "data": {"name": "shapes", "modality": "image", "size": 16, "samples": 64, "val": 32},
    "tokenizers": [{"recipe": "vq-vae", "downsample": 4, "codebook_size": 16, "width": 8}],
    "features": ["scattering"],
    "tasks": ["reconstruction", "generation"],
    "training": {"steps": 4, "batch_size": 8},
    "generation": {"samples": 16},
    "prior": {
        "training": {"steps": 4, "batch_size": 8},
        "ar": {"width": 16, "layers": 1, "attention_heads": 2},
    },
}


def command(*arguments: object) -> subprocess.Popen[str]:
    line = [sys.executable, "-P", "-m", "latentbench.bench.cli", *map(str, arguments)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)


def done(process: subprocess.Popen[str]) -> str:
    told, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return told


def records(out: Path) -> dict[str, dict[str, object]]:
    """Without what two runs of a job may differ in."""
    found = {str(path.relative_to(out)): json.loads(path.read_bytes()) for path in out.glob("jobs/*/*/record.json")}
    for record in found.values():
        del record["run"]
    return found


@pytest.mark.slow
def test_records_are_those_of_a_run_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Three trainings and what reads them: priors and features are no other work to those who share it.
    table = SUITE | {"tasks": ["reconstruction"], "features": [], "seeds": [0, 1, 2]}
    suite = tmp_path / "shared.toml"
    suite.write_text("\n".join(f"{name} = {toml(value)}" for name, value in table.items()))
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    devices = ("--devices", "cpu", "--jobs-per-device", "1")
    assert cli.main(["run", str(suite), "--out", str(alone), "--engine", "inline", "--devices", "cpu"]) == 0
    capsys.readouterr()
    assert cli.main(["run", str(suite), "--out", str(shared), "--engine", "leases", "--plan-only"]) == 0
    assert capsys.readouterr().out == f"planned in {shared}; on every machine: latentbench work {shared}\n"
    assert records(shared) == {}
    machines = [command("work", shared, *devices) for _ in range(2)]
    for machine in machines:
        assert "nothing is left to do" in done(machine)
    assert records(shared) == records(alone)
    assert len(records(shared)) > 6
    for path in alone.glob("jobs/*/*/*.safetensors"):
        assert (shared / path.relative_to(alone)).read_bytes() == path.read_bytes()
    assert list(shared.glob("workers/*")) == list(shared.glob("jobs/*/*/lease-*")) == []


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {toml(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    plan = make_plan(load_suite(SUITE), {"shapes": "abc"})
    store = Store(tmp_path)
    write_plan(plan, "leases", EngineSettings(store=store, cache=tmp_path / "cache", lease_seconds=7.0))
    (read,) = read_plans(store)
    assert list(read.jobs) == list(plan.jobs)
    for name, job in plan.jobs.items():
        again = read.jobs[name]
        assert (again.key, again.depends, again.title) == (job.key, job.depends, job.title)
        assert (again.memory, again.flops, again.step_flops) == (job.memory, job.flops, job.step_flops)
        assert again.on_cpu == job.on_cpu
    assert (read.suite, read.engine, read.settings["lease_seconds"]) == ("shared", "leases", 7.0)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda text: text.replace('"memory"', '"memorx"', 1), "its digest"),
        (
            lambda text: text.replace('"schema":2', '"schema":7', 1),
            r"schema 7 is newer than this version reads \(up to 2\)",
        ),
        (lambda text: text.replace('"schema":2', '"schema":"2"', 1), "schema '2' is no version number"),
        (lambda text: text[:40], "not a plan"),
    ],
)
def test_a_damaged_plan_is_one_line(tmp_path: Path, damage: object, reason: str) -> None:
    store = Store(tmp_path)
    settings = EngineSettings(store=store, cache=tmp_path)
    write_plan(make_plan(load_suite(SUITE), {"shapes": "abc"}), "leases", settings)
    path = tmp_path / "plans" / "shared.jsonl"
    path.write_text(damage(path.read_text()))  # type: ignore[operator]
    with pytest.raises(UserError, match=reason):
        read_plans(store)


def rewritten(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Write the plan with other lines of jobs, and the digest that they have."""
    first, shown, *lines = path.read_text().splitlines(keepends=True)
    rest = shown + "".join(change(lines))
    path.write_text(compact({**json.loads(first), "sha256": hashlib.sha256(rest.encode()).hexdigest()}) + "\n" + rest)


def test_lines_in_any_order_of_names_are_the_same_jobs(tmp_path: Path) -> None:
    store, path = Store(tmp_path), tmp_path / "plans" / "shared.jsonl"
    plan = make_plan(load_suite(SUITE), {"shapes": "abc"})
    write_plan(plan, "leases", EngineSettings(store=store, cache=tmp_path))
    (read,) = read_plans(store)
    rewritten(path, lambda lines: [compact(json.loads(line)) + "\n" for line in lines])  # as they once were written
    (older,) = read_plans(store)
    assert read.jobs == older.jobs
    assert [*read.jobs] == [*plan.jobs] == [job.id for job in read.jobs.values()]
    one = next(iter(read.jobs.values()))
    assert replace(one, title="t", after=("data/1",)).waits == (*one.depends.values(), "data/1")


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize(("old", "new"), [('"kind":"', '"kind":"x'), ('"key":"', '"key":"0')])
def test_a_job_of_another_key_is_one_line(tmp_path: Path, place: int, old: str, new: str) -> None:
    store = Store(tmp_path)
    settings = EngineSettings(store=store, cache=tmp_path)
    write_plan(make_plan(load_suite(SUITE), {"shapes": "abc"}), "leases", settings)

    def change(lines: list[str]) -> list[str]:
        before, _, after = lines[place].rpartition(old)
        lines[place] = before + new + after
        return lines

    rewritten(tmp_path / "plans" / "shared.jsonl", change)
    with pytest.raises(UserError, match="has another key here: another version of latentbench has planned it"):
        read_plans(store)


def test_older_plans_are_brought_up_one_version_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def update_to_3(data: dict[str, Any]) -> dict[str, Any]:
        assert data["schema"] == 2
        return {**data, "shown": {**data["shown"], "titles": ["three"] * len(data["shown"]["titles"])}}

    def update_to_4(data: dict[str, Any]) -> dict[str, Any]:
        assert data["schema"] == 3
        jobs = {"jobs": [{**job, "title": "four"} for job in data["jobs"]]} if "jobs" in data else {}
        return {**data, **jobs, "engine": "local"}

    store = Store(tmp_path)
    plan = make_plan(load_suite(SUITE), {"shapes": "abc"})
    write_plan(plan, "leases", EngineSettings(store=store, cache=tmp_path))
    assert sorted(plan_overview.UPDATES) == list(range(2, plan_overview.SCHEMA + 1))
    monkeypatch.setattr(plan_overview, "SCHEMA", 4)
    monkeypatch.setattr(plan_overview, "UPDATES", {3: update_to_3, 4: update_to_4})
    (read,) = read_plans(store)
    assert (read.jobs.keys(), {job.title for job in read.jobs.values()}) == (plan.jobs.keys(), {"four"})
    assert (read.engine, read.suite) == ("local", "shared")
    overview = read_overview(tmp_path)
    assert (overview.keys(), {job.title for job in overview.values()}) == (plan.jobs.keys(), {"three"})


def test_what_cannot_be_joined_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["work", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.endswith("none: no such folder; expected the --out folder of a run\n")
    with pytest.raises(UserError, match="no plan to join; `latentbench run SUITE --engine leases --out"):
        join(tmp_path)


def test_only_leases_leave_work_to_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "quickstart", "--plan-only", "--out", str(tmp_path / "out")]) == 2
    assert "--plan-only: the engine local leaves no work to others" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_who_joins_sizes_jobs_for_its_own_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured, ran = list[str](), dict[str, int]()
    monkeypatch.setattr("latentbench.bench.footprints.SURELY_SMALL", 0.0)

    def measure(table: Footprints, subjects: list[Any], imports: object = ()) -> list[object]:
        measured.extend(item.device for item in subjects)
        table.known |= {item.key: Footprint(states=10**9, step=0) for item in subjects}
        return []

    def run(engine: LeaseEngine, jobs: dict[str, Job]) -> Iterator[Event]:
        ran.update({job.kind: job.memory for job in jobs.values()})
        yield from ()

    monkeypatch.setattr(Footprints, "measure", measure)
    monkeypatch.setattr(LeaseEngine, "run", run)
    quiet = Console(quiet=True)
    run_suite(SUITE, out=tmp_path, engine="leases", devices="cpu", plan_only=True, console=quiet)
    assert (measured, ran) == ([], {})  # the machine that plans may be another
    join(tmp_path, devices="cpu", console=quiet)
    assert set(measured) == {"cpu"}
    assert ran["tokenizer"] == ran["prior"] == CONTEXT["cpu"] + 1_200_000_000
