"""Footprints by configuration: what is measured once, remembered, and corrected by what jobs have taken."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench.footprints import (
    CONTEXT,
    MARGIN,
    SURELY_SMALL,
    Footprint,
    Footprints,
    measured_ratios,
    sized,
    subject,
    worth_measuring,
)
from latentbench.bench.jobs import Job
from latentbench.bench.plan import Plan, make_plan
from latentbench.bench.suite import load_suite
from latentbench.results.record import Record
from latentbench.results.store import Store

KNOWN = Footprint(states=10**9, step=2 * 10**9, saved=10**9, flops=5e9)


@pytest.fixture
def plan(mini: dict[str, Any]) -> Plan:
    return make_plan(load_suite(mini | {"seeds": [0, 1]}), {})


def of_kind(plan: Plan, kind: str) -> list[Job]:
    return [job for job in plan.jobs.values() if job.kind == kind]


def test_seeds_share_a_footprint_and_configurations_do_not(plan: Plan) -> None:
    for kind, configurations in (("tokenizer", 2), ("prior", 2), ("latents", 2), ("data", 0), ("modelability", 0)):
        keys = {item.key for job in of_kind(plan, kind) if (item := subject(job, plan.jobs))}
        assert len(keys) == configurations, kind
    (first, *_) = of_kind(plan, "tokenizer")
    cpu, cuda = subject(first, plan.jobs), subject(first, plan.jobs, "cuda")
    assert cpu is not None
    assert cuda is not None
    assert cpu.key != cuda.key  # bfloat16 there


def test_what_was_measured_is_read_again(tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [item for job in of_kind(plan, "tokenizer") if (item := subject(job, plan.jobs))]
    answers = [json.dumps({"states": 1, "step": 2}), json.dumps({"error": "RuntimeError: no"})]
    script = f"import sys; sys.stdin.read(); print({answers[0]!r}); print({answers[1]!r})"
    monkeypatch.setattr("latentbench.bench.footprints.COMMAND", ["-c", script])
    table = Footprints(tmp_path)
    assert [item.key for item in table.measure(items)] == list(dict.fromkeys(item.key for item in items))
    again = Footprints(tmp_path)
    assert again.get(items[0]) == Footprint(states=1, step=2)
    failed = next(item for item in items if item.key != items[0].key)
    assert again.get(failed) is None
    assert table.reasons == {failed.key: "RuntimeError: no"}
    assert list(again.measure(items[:1])) == []  # nothing to do
    (tmp_path / "footprints.json").write_text("[1")
    assert Footprints(tmp_path).known == {}


def test_a_measuring_process_that_dies_leaves_guesses(
    tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latentbench.bench.footprints.COMMAND", ["-c", "raise SystemExit(3)"])
    table = Footprints(tmp_path)
    items = [item for job in of_kind(plan, "tokenizer") if (item := subject(job, plan.jobs))]
    assert list(table.measure(items)) == []
    assert sized(plan.jobs, plan.jobs, table) == dict(plan.jobs)


def known(plan: Plan, kind: str, footprint: Footprint = KNOWN) -> Footprints:
    table = Footprints(None)
    table.known = {item.key: footprint for job in of_kind(plan, kind) if (item := subject(job, plan.jobs))}
    return table


def test_a_job_gets_the_memory_and_flops_that_were_measured_and_keeps_its_key(plan: Plan) -> None:
    jobs = sized(plan.jobs, plan.jobs, known(plan, "tokenizer"))
    for name, job in plan.jobs.items():
        if job.kind != "tokenizer":
            assert jobs[name] == job
            continue
        assert jobs[name].memory == int(CONTEXT["cpu"] + MARGIN * 3e9)
        assert jobs[name].flops == pytest.approx(5e9 * 60)  # steps
        assert (jobs[name].id, jobs[name].step_flops) == (name, job.step_flops)
    assert KNOWN.memory("cuda:1", parts=4) == int(CONTEXT["cuda"] + MARGIN * 1.5e9)


def test_predictions_follow_what_finished_jobs_took(tmp_path: Path, plan: Plan) -> None:
    store, table = Store(tmp_path), known(plan, "tokenizer")
    first, second, third, fourth = of_kind(plan, "tokenizer")
    predicted = KNOWN.memory("cpu")
    for job, peak in ((first, 2 * predicted), (second, 1.5 * predicted), (third, 1.5 * predicted)):
        run = {"peak_memory_bytes": int(peak), "device": "cpu"}
        store.save(Record(kind=job.kind, key=job.key, status="finished", config=dict(job.config), run=run))
    ratios = measured_ratios(store, plan.jobs, (first, second, third), table)
    assert ratios == {"tokenizer": pytest.approx(1.5)}
    sizes = sized(plan.jobs, plan.jobs, table, ratios=ratios)
    assert sizes[fourth.id].memory == pytest.approx(1.5 * predicted, rel=1e-6)
    assert measured_ratios(store, plan.jobs, (first,), table, device="cuda") == {}  # it ran on a CPU


def test_a_gpu_job_s_peak_is_that_of_its_device(tmp_path: Path, plan: Plan) -> None:
    store, job = Store(tmp_path), of_kind(plan, "tokenizer")[0]
    table = Footprints(None)
    item = subject(job, plan.jobs, "cuda")
    assert item is not None
    table.known[item.key] = KNOWN
    taken = KNOWN.memory("cuda") * 2 - CONTEXT["cuda"]
    run = {"device": "cuda:3", "peak_memory_bytes": 1, "peak_device_memory_bytes": taken}
    store.save(Record(kind=job.kind, key=job.key, status="finished", config=dict(job.config), run=run))
    assert measured_ratios(store, plan.jobs, (job,), table, device="cuda") == {"tokenizer": pytest.approx(2.0)}


def test_only_large_steps_are_worth_a_measurement(plan: Plan) -> None:
    name, job = next(iter(plan.jobs.items()))
    assert worth_measuring(plan.jobs) == {}
    large = {name: replace(job, step_flops=2 * SURELY_SMALL)}
    assert worth_measuring(plan.jobs | large) == large
