"""What a plan takes of a machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench import cli
from latentbench.bench.catalogue import plan_text
from latentbench.bench.footprints import Footprint, Footprints, subject
from latentbench.bench.hardware import Device, Machine, planned_machine
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


def known(plan: Plan, device: str = "cpu") -> Footprints:
    """A table that has the tokenizers' footprints."""
    table = Footprints(None)
    table.known = {item.key: KNOWN for job in tokenizers(plan) if (item := subject(job, plan.jobs, device))}
    return table


def test_hours_and_memory_of_a_plan(tmp_path: Path, plan: Plan) -> None:
    machine = Machine(devices=(Device(name="cpu", units=2, memory=10**9, title="CPU"),), cores=2)
    store, table = Store(tmp_path), known(plan)
    cost = plan_cost(plan.jobs, machine, store, table)
    assert (cost.measured, cost.learned, cost.done) == (4, 0, 0)
    assert cost.memory(plan.cells[0]) == KNOWN.memory("cpu")
    guess, head, memory = cost.lines()
    assert guess.startswith("~GB, ~TFLOP: guessed from the configuration; --measure measures")
    assert cost.is_guess(plan.cells[0]) == (False, True)  # the tokenizer's is known, the prior's is not
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
        (2, "devices: tokenizer shapes kl-vae seed=0 needs 4 (training.devices), and there are 2"),
        (4, "on 4"),
    ):
        machine = Machine(devices=(Device(name="cpu", units=cores, memory=10**12, title="CPU"),), cores=cores)
        assert plan_cost(plan.jobs, machine, Store(tmp_path), Footprints(None)).lines()[-1].startswith(last)
    for devices, last in (("3x80", "devices: "), ("4x80", "on 4 x GPU of 80 GB elsewhere: ")):
        lines = plan_cost(plan.jobs, planned_machine(devices), Store(tmp_path), Footprints(None)).lines()
        assert lines[-1].startswith(last), "the CPU beside them is no device of a job for GPUs"


def test_a_plan_for_gpus_elsewhere(tmp_path: Path, plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    hours = {
        devices: plan_cost(plan.jobs, planned_machine(devices), Store(tmp_path), known(plan, "cuda"))
        for devices in ("1x1", "8x80")
    }
    assert hours["1x1"].lines()[-1].startswith("memory: 4 jobs may not fit the 0.9 GB of a device")
    assert hours["8x80"].lines()[-1].startswith("on 8 x GPU of 80 GB elsewhere: ")
    assert hours["8x80"].lines()[-1].endswith("; a guess until jobs have finished)")
    assert hours["8x80"].to_json()["devices"] == [f"cuda:{i}" for i in range(8)]
    line = ["plan", "quickstart", "--out", str(tmp_path / "out"), "--devices"]
    assert cli.main([*line, "2x24"]) == 0
    assert "on 2 x GPU of 24 GB elsewhere: " in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    for wrong in ("0x80", "8x", "8x0", "x80", "8*80", "99999x8"):
        with pytest.raises(SystemExit, match="2"):
            cli.main([*line, wrong])
        assert "or as 8x80: GPUs elsewhere, and the GB of each; got" in capsys.readouterr().err


@pytest.mark.slow
def test_plan_measures_without_torch_in_its_own_process(
    tmp_path: Path,
    mini: dict[str, Any],
    as_toml: Callable[[Any], str],
    in_subprocess: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))  # what others have measured stands in theirs
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


def test_a_guess_is_marked_and_a_measurement_is_not(tmp_path: Path, plan: Plan) -> None:
    machine = Machine(devices=(Device(name="cpu", units=2, memory=10**12, title="CPU"),), cores=2)
    whole = Footprints(None)
    whole.known = {item.key: KNOWN for job in plan.jobs.values() if (item := subject(job, plan.jobs))}
    for table, is_guess in ((Footprints(None), True), (whole, False)):
        cost = plan_cost(plan.jobs, machine, Store(tmp_path), table)
        text = plan_text(plan, "text", cost=cost)
        cells = [line for line in text.splitlines() if line.startswith("shapes ")]
        assert len(cells) == len(plan.cells)
        assert all(line.split()[-1].startswith("~") == is_guess for line in cells)
        assert all(line.split()[-2].startswith("~") == is_guess for line in cells)
        assert ("--measure" in text) == is_guess
        rows = json.loads(plan_text(plan, "json", cost=cost))["cells"]
        assert {(row["memory_guessed"], row["flops_guessed"]) for row in rows} == {(is_guess, is_guess)}


def test_what_was_measured_is_known_to_the_next_plan(
    tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a run's folder too; and of two at once neither loses what the other has measured."""
    answer = json.dumps({"states": 1, "step": 2, "saved": 1, "flops": 3.0})
    monkeypatch.setattr(
        "latentbench.bench.footprints.COMMAND", ["-c", f"import sys; sys.stdin.read(); print('{answer}')"]
    )
    first, second = (item for job in tokenizers(plan)[:3:2] if (item := subject(job, plan.jobs)))
    tables = [Footprints(tmp_path / "none", cache=tmp_path) for _ in range(2)]
    for table, item in zip(tables, (first, second), strict=True):
        assert list(table.measure([item])) == [item]
    assert Footprints(tmp_path / "other", cache=tmp_path).known.keys() == {first.key, second.key}
    assert not (tmp_path / "none").exists()
