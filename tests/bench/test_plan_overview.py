"""What is to be shown of planned jobs: as they were planned, of plans of the first version too, and soon."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from latentbench.bench.engines.interface import EngineSettings
from latentbench.bench.jobs import Job
from latentbench.bench.plan_file import joined_imports, joined_jobs, joined_settings, read_plans, write_plan
from latentbench.bench.plan_overview import PLANS, Planned, read_overview
from latentbench.results.errors import UserError, one_line
from latentbench.results.gates import Gate
from latentbench.results.store import Store

GATES = tuple(Gate(job="gate/g", candidate=name, limit=2) for name in "ab")


def job(kind: str, *needs: Job, **options: Any) -> Job:
    return Job(kind=kind, config={}, versions={}, depends={need.kind: need.id for need in needs}, **options)


DATA = job("data", title="Daten é", flops=2.0)
TOKENIZER = job("tokenizer", DATA, title="t", flops=float("inf"))
PRIOR = job("prior", TOKENIZER, DATA, title="p", gates=GATES)
JOBS = (DATA, TOKENIZER, PRIOR)


def planned(out: Path, *jobs: Job, suite: str = "one") -> Path:
    plan: Any = SimpleNamespace(suite=SimpleNamespace(name=suite), jobs={item.id: item for item in jobs})
    write_plan(plan, "leases", EngineSettings(store=Store(out), cache=out))
    return out / PLANS / f"{suite}.jsonl"


def shown(*jobs: Job) -> dict[str, Planned]:
    return {
        item.id: Planned(
            kind=item.kind,
            key=item.key,
            title=item.title,
            flops=0.0 if item.flops == float("inf") else item.flops,
            depends=tuple(sorted(item.depends.values())),
            gates=item.gates,
        )
        for item in jobs
    }


def test_jobs_are_shown_as_they_were_planned(tmp_path: Path) -> None:
    planned(tmp_path, *JOBS)
    overview = read_overview(tmp_path)
    assert dict(overview) == shown(*JOBS)
    assert list(overview) == [item.id for item in JOBS]
    assert len(overview) == 3
    assert [one.id for one in overview.values()] == list(overview)
    assert "data/none" not in overview
    with pytest.raises(KeyError):
        overview["data/none"]
    assert dict(read_overview(tmp_path / "none")) == {}


def test_of_two_plans_each_job_is_shown_once(tmp_path: Path) -> None:
    other = job("prior", TOKENIZER, DATA, title="p", gates=GATES[1:])
    assert other.id == PRIOR.id
    more = job("generation", other)
    planned(tmp_path, *JOBS)
    planned(tmp_path, DATA, TOKENIZER, other, more, suite="two")
    overview = read_overview(tmp_path)
    assert list(overview) == [*(item.id for item in JOBS), more.id]
    assert dict(overview) == shown(*JOBS, more)
    planned(tmp_path, DATA, TOKENIZER, job("prior", TOKENIZER, DATA, title="p"), suite="three")
    assert read_overview(tmp_path)[PRIOR.id].gates == ()


def test_a_plan_of_the_first_version_is_shown_alike(tmp_path: Path) -> None:
    path = planned(tmp_path, *JOBS)
    facts, _, *jobs = path.read_text().splitlines()
    rows = [
        ["data", DATA.key, "Daten é", 2.0, []],
        ["tokenizer", TOKENIZER.key, "t", None, [DATA.id]],
        ["prior", PRIOR.key, "p", 0.0, [DATA.id, TOKENIZER.id, "data/elsewhere"], [vars(gate) for gate in GATES]],
    ]
    lines = "".join(f"{line}\n" for line in [json.dumps(rows), *jobs])
    first = {**json.loads(facts), "schema": 1, "sha256": hashlib.sha256(lines.encode()).hexdigest()}
    path.write_text(f"{json.dumps(first)}\n{lines}")
    assert dict(read_overview(tmp_path)) == shown(*JOBS)


@pytest.mark.parametrize(
    "change",
    [
        {"titles": ["a"]},
        {"needs": [0]},
        {"jobs": None},
        {"gates": {"0": [{"job": "gate/g"}]}},
        {"flops": 3},
        {"flops": ["1e9", 1, 2]},
        {"titles": [1, 2, 3]},
        {"jobs": [None, "b/2", "c/3"]},
        {"ends": [3, 1, 3]},
        {"ends": [-1, 1, 3]},
        {"needs": [0, 99, 1]},
        {"needs": [0, -1, 1]},
    ],
)
def test_what_is_no_plan_is_told(tmp_path: Path, change: dict[str, Any]) -> None:
    path = planned(tmp_path, *JOBS)
    facts, second, *jobs = path.read_text().splitlines()
    path.write_text("\n".join([facts, json.dumps(json.loads(second) | change), *jobs]))
    with pytest.raises(UserError, match=r"one.jsonl: not a plan: .*the same `latentbench run` writes it anew"):
        read_overview(tmp_path)
    path.write_text(f"{facts}\n[3]\n")
    with pytest.raises(UserError, match="not a plan"):
        read_overview(tmp_path)


def test_a_status_imports_nothing_slow() -> None:
    script = "import sys, latentbench.bench.cli, latentbench.bench.status; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    slow = {"pydantic", "numpy", "torch", "rich", "latentbench.results.record", "latentbench.bench.suite"}
    assert slow & {*done.stdout.split()} == set()


def test_a_schema_that_its_content_is_not_of_is_one_line(tmp_path: Path) -> None:
    path = planned(tmp_path, *JOBS)
    facts, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([facts.replace(b'"schema":2', b'"schema":1'), *rest]))
    for read in (read_overview, lambda root: read_plans(Store(root))):
        with pytest.raises(UserError, match=r"one.jsonl: not a plan: it has other columns than its schema"):
            read(tmp_path)


def changed(value: Any, random: Random) -> Any:
    """The value with something in it that is of another type, gone, or another."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        name = random.choice([*value])
        if random.random() < 0.2:
            return {key: item for key, item in value.items() if key != name}
        return {**value, name: changed(value[name], random)}
    if isinstance(value, list) and value and random.random() < 0.9:
        place = random.randrange(len(value))
        if random.random() < 0.2:
            return value[:place] + value[place + 1 :]
        return [*value[:place], changed(value[place], random), *value[place + 1 :]]
    return random.choice([None, 0, -1, 1.5, True, "x", "", [], {}, [[]], {"x": 1}, 10**30])


def test_whatever_a_plan_holds_it_is_read_or_one_line(tmp_path: Path) -> None:
    path = planned(tmp_path, *JOBS)
    good = path.read_text().splitlines()
    told = []
    for seed in range(300):
        random = Random(seed)
        lines = [*good]
        place = random.randrange(len(lines))
        how = random.random()
        if how < 0.75:
            lines[place] = json.dumps(changed(json.loads(lines[place]), random))
        elif how < 0.9:
            lines[place] = lines[place][: random.randrange(len(lines[place]))]
        else:
            del lines[place]
        content = "".join(f"{line}\n" for line in lines[1:])
        if place and lines:  # with the digest that it should have
            digest = hashlib.sha256(content.encode()).hexdigest()
            lines[0] = json.dumps({**json.loads(lines[0]), "sha256": digest})
        path.write_text(f"{lines[0] if lines else ''}\n{content}")
        try:
            dict(read_overview(tmp_path))
            plans = read_plans(Store(tmp_path))
            joined_jobs(plans)
            joined_settings(plans)
            joined_imports(plans)
        except UserError as error:
            told.append(str(error))
    assert len(told) > 200
    assert all("one.jsonl: " in line and "\n" not in one_line(line) for line in told)
