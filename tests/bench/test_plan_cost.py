"""What a plan takes of a machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench.footprints import Footprint, Footprints, subject
from latentbench.bench.hardware import Device, Machine
from latentbench.bench.jobs import Job
from latentbench.bench.plan import Plan, make_plan
from latentbench.bench.plan_cost import plan_cost
from latentbench.bench.suite import load_suite
from latentbench.results.record import Record
from latentbench.results.store import Store

KNOWN = Footprint(states=10**9, step=2 * 10**9, saved=10**9, flops=5e9)


@pytest.fixture
def plan(mini: dict[str, Any]) -> Plan:
    return make_plan(load_suite(mini | {"seeds": [0, 1]}), {})


def tokenizers(plan: Plan) -> list[Job]:
    return [job for job in plan.jobs.values() if job.kind == "tokenizer"]


def known(plan: Plan) -> Footprints:
    """A table that has the tokenizers' footprints."""
    table = Footprints(None)
    table.known = {item.key: KNOWN for job in tokenizers(plan) if (item := subject(job, plan.jobs))}
    return table


def test_hours_and_memory_of_a_plan(tmp_path: Path, plan: Plan) -> None:
    machine = Machine(devices=(Device(name="cpu", units=2, memory=10**9, title="CPU"),), cores=2)
    store, table = Store(tmp_path), known(plan)
    cost = plan_cost(plan.jobs, machine, store, table)
    assert (cost.measured, cost.learned, cost.done) == (4, 0, 0)
    assert cost.memory(plan.cells[0]) == KNOWN.memory("cpu")
    head, memory = cost.lines()
    assert head.startswith("on 2 CPU cores: ")
    assert head.endswith("; a guess until jobs have finished)")
    assert memory.startswith("memory: 4 jobs may not fit the 1 GB of a device, first tokenizer shapes kl-vae")
    job = tokenizers(plan)[0]
    run = {"seconds": 7200.0, "device": "cpu"}
    store.save(Record(kind=job.kind, key=job.key, status="finished", config=dict(job.config), run=run))
    later = plan_cost(plan.jobs, machine, store, table)
    assert (later.learned, later.done) == (1, 1)
    assert later.span.seconds >= 3 * 7200 / 2  # three more of its kind, on two cores
    assert later.to_json()["seconds_interval"] == [later.span.low, later.span.high]


def test_a_plan_says_what_has_too_few_devices(tmp_path: Path, mini: dict[str, Any]) -> None:
    plan = make_plan(load_suite(mini, ["training.devices=4"]), {})
    trained = tokenizers(plan)
    assert [(job.devices, 4 * job.step_flops) for job in trained] == [
        (4, job.step_flops) for job in tokenizers(make_plan(load_suite(mini), {}))
    ]
    for cores, last in (
        (2, "devices: tokenizer shapes kl-vae seed=0 needs 4 (training.devices), and here are 2"),
        (4, "on 4"),
    ):
        machine = Machine(devices=(Device(name="cpu", units=cores, memory=10**12, title="CPU"),), cores=cores)
        assert plan_cost(plan.jobs, machine, Store(tmp_path), Footprints(None)).lines()[-1].startswith(last)


@pytest.mark.slow
def test_plan_measures_without_torch_in_its_own_process(
    tmp_path: Path, mini: dict[str, Any], as_toml: Callable[[Any], str], in_subprocess: Callable[[str], str]
) -> None:
    (tmp_path / "out").mkdir()
    suite = tmp_path / "mini.toml"
    suite.write_text(as_toml(mini | {"tokenizers": mini["tokenizers"][:1], "tasks": ["generation"]}))
    code = (
        "import sys; from latentbench.bench import cli\n"
        f"code = cli.main(['plan', {str(suite)!r}, '--measure', '--out', {str(tmp_path / 'out')!r},"
        " '--devices', 'cpu', '--format', 'json'])\n"
        "assert code == 0 and 'torch' not in sys.modules"
    )
    answer = json.loads(in_subprocess(code))
    assert answer["cost"]["footprints_measured"] == 4  # training, and three passes
    assert all(4e8 < row["memory_bytes"] < 6e8 for row in answer["cells"])
    assert len(Footprints(tmp_path / "out").known) == 3  # tokenizer, prior, evaluation
