"""Successive halving in a plan and in a run: what waits for whom, what it goes on from, and that all decide alike."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from latentbench.bench.catalogue import plan_text
from latentbench.bench.engines.schedule import Schedule
from latentbench.bench.footprints import subject
from latentbench.bench.gates import Gatekeeper, at_most, forget_partial, left_out
from latentbench.bench.jobs import Job
from latentbench.bench.kinds.halving import HalvingConfig
from latentbench.bench.kinds.rung import training_of
from latentbench.bench.plan import Plan, make_plan
from latentbench.bench.plan_file import job_from_json, job_to_json
from latentbench.bench.runner import run_suite
from latentbench.bench.status import status
from latentbench.bench.suite import load_suite
from latentbench.bench.worker_protocol import CONTINUES, RUNG_CHECKPOINT
from latentbench.results.gates import Gate, places
from latentbench.results.record import Record
from latentbench.results.rows import rows
from latentbench.results.store import Store

from .test_gates import MACHINE, fake


def planned(suite: dict[str, Any], **halving: Any) -> Plan:
    table = {"halving": {"metric": "psnr", **halving}} if halving else {}
    return make_plan(load_suite(suite | table), {"shapes": "f"})


@pytest.fixture
def suite(mini: dict[str, Any]) -> dict[str, Any]:
    """Nine tokenizers that are trained, and one that is not, with two seeds."""
    grids = [{"recipe": name, "downsample": 4, "width": 8} for name in ("kl-vae", "ae")]
    tokenizers = [
        grids[0] | {"grid": {"channels": [1, 2, 3, 4, 6, 8]}},
        grids[1] | {"grid": {"channels": [2, 4, 8]}},
        {"recipe": "pca", "channels": 4},
    ]
    return mini | {"tokenizers": tokenizers, "seeds": [0, 1], "tasks": ["reconstruction"], "features": []}


def of_kind(plan: Plan, kind: str) -> list[Job]:
    return [job for job in plan.jobs.values() if job.kind == kind]


def test_halving_moves_no_key_and_what_waits_comes_behind(suite: dict[str, Any]) -> None:
    suite |= {"tasks": ["reconstruction", "generation"]}
    free, halved = planned(suite), planned(suite, eta=3, min=0.1)
    own = {name for name in halved.jobs if name.startswith(("rung/", "halving/"))}
    assert halved.jobs.keys() - own == free.jobs.keys()
    assert Counter(job.kind for job in halved.jobs.values() if job.id in own) == {"rung": 2 * 9 * 2, "halving": 2}
    place = {name: number for number, name in enumerate(halved.jobs)}
    for job in halved.jobs.values():
        assert all(place[needed] < place[job.id] for needed in job.waits), job.title
    first, second = of_kind(halved, "halving")
    assert (first.depends, second.depends) == ({}, {"before": first.id})
    assert len(first.after) == len(second.after) == 18
    for cell in halved.cells:
        if cell.cell.recipe == "pca":
            assert cell.rungs is None
            assert not any(halved.jobs[name].gates for name in cell.jobs.values()), "a closed form takes no part"
            continue
        assert cell.rungs is not None
        assert [(gate.job, gate.limit) for gate in cell.rungs.gates] == [(first.id, 3), (second.id, 1)]
        assert set(cell.rungs.holds) == {"tokenizer", "latents", "reconstruction", "prior", "generation"}
        held = [halved.jobs[cell.jobs[kind]] for kind in cell.rungs.holds]
        assert all(job.gates == (cell.rungs.gates[-1],) for job in held)
        low, high = (halved.jobs[name] for name in cell.rungs.trained)
        assert (low.gates, high.gates) == ((), (cell.rungs.gates[0],))
        assert {low.id, high.id, first.id, second.id} <= set(cell.shared)
        assert cell.to_json()["halving"]["trained"] == [low.id, high.id]
    assert "halving" not in free.cells[0].to_json()


def test_a_training_goes_on_from_its_last_rung_and_is_done_once(suite: dict[str, Any]) -> None:
    free, halved = planned(suite), planned(suite, eta=3, min=0.1)
    for cell in halved.cells:
        if cell.rungs is None:
            continue
        whole = halved.jobs[cell.jobs["tokenizer"]]
        low, high = (halved.jobs[name] for name in cell.rungs.trained)
        assert whole.runtime[CONTINUES] == [high.id, low.id]
        assert (low.runtime.get(CONTINUES), high.runtime[CONTINUES]) == (None, [low.id])
        assert [Fraction(rung.config["share"]) for rung in (low, high)] == [Fraction(1, 9), Fraction(1, 3)]
        assert low.flops + high.flops + whole.flops == pytest.approx(free.jobs[whole.id].flops)
        assert low.flops == pytest.approx(free.jobs[whole.id].flops / 9)
        assert training_of(low).id == training_of(high).id == whole.id
        assert subject(low, halved.jobs) == subject(whole, halved.jobs), "a step takes what a step takes"


def test_what_ranks_moves_keys_and_how_many_pass_only_those_behind(suite: dict[str, Any]) -> None:
    def ids(kind: str, **options: Any) -> list[str]:
        return [job.id for job in of_kind(planned(suite, **({"eta": 3} | options)), kind)]

    rungs, decisions = ids("rung"), ids("halving")
    wider = ids("halving", best=2)
    assert ids("rung", best=2) == rungs
    assert wider == decisions, "the first lets as many through: 9, 3, 2"
    widest = ids("halving", best=4)
    assert widest == decisions[:1], "the second would stop none: 9, 4"
    assert ids("rung", best=4) == rungs[:18]
    assert ids("rung", samples=8) != rungs
    assert ids("halving", metric="ssim")[0] not in decisions
    assert ids("rung", metric="ssim") == rungs, "a rung has all metrics"
    assert ids("rung", best=9) == ids("halving", best=9) == [], "all are trained to the end"
    few = planned(suite, eta=3, best=2, seeds=1)
    assert len(of_kind(few, "rung")) == len(rungs) / 2
    for cell in few.cells:
        if cell.rungs is not None and cell.cell.seed == 1:
            assert cell.rungs.trained == ()
            assert few.jobs[cell.jobs["tokenizer"]].gates, "it waits for what the first seed decides"


def test_groups_have_equal_facts_and_labels_of_one_tokenizer_compete_once(suite: dict[str, Any]) -> None:
    plan = planned(suite, eta=2, min=0.5, group=["channels"])
    groups = {job.title: len(job.config["candidates"]) for job in of_kind(plan, "halving")}
    assert groups == {f"halving shapes channels={n} after 1/2": 2 for n in (2, 4, 8)}
    alone = [cell for cell in plan.cells if cell.cell.axes.get("channels") in (1, 3, 6)]
    assert len(alone) == 6
    assert all(cell.rungs is None and not plan.jobs[cell.jobs["tokenizer"]].gates for cell in alone)
    twice = suite | {"tokenizers": [*suite["tokenizers"], suite["tokenizers"][1] | {"label": "again"}]}
    (decision,) = of_kind(planned(twice, eta=2, min=0.5), "halving")
    assert len(decision.config["candidates"]) == 9


def test_a_plan_says_who_trains_on_and_how_much_runs_at_most(suite: dict[str, Any]) -> None:
    plan = planned(suite, eta=3)
    text = plan_text(plan, "text")
    head = "halving shapes after"
    assert f"\n{head} 1/9 of the training: the best 3 of 9 tokenizers by psnr are trained on\n" in text
    assert f"\n{head} 1/3 of the training: the best 1 of 3 tokenizers by psnr are trained on\n" in text
    most = at_most(plan.jobs)
    kinds = Counter(job.kind for job in most.values())
    assert (kinds["rung"], kinds["tokenizer"]) == (18 + 3 * 2, 2 + 2), "the closed form has two seeds as well"
    assert f"\nso {len(most)} of the jobs run at most" in text


def test_an_asynchronous_one_waits_for_those_before_it_alone(suite: dict[str, Any]) -> None:
    whole, plan = planned(suite, eta=3), planned(suite, eta=3, asynchronous=True)
    decisions = of_kind(plan, "halving")
    assert len(decisions) == 2 * 9
    assert {job.id for job in of_kind(plan, "rung")} == {job.id for job in of_kind(whole, "rung")}
    assert {job.id for job in of_kind(plan, "tokenizer")} == {job.id for job in of_kind(whole, "tokenizer")}
    place = {name: number for number, name in enumerate(plan.jobs)}
    for job in plan.jobs.values():
        assert all(place[needed] < place[job.id] for needed in job.waits), job.title
    by_share: dict[str, list[Job]] = {"1/9": [], "1/3": []}
    for job in decisions:
        by_share[job.config["share"]].append(job)
    for share, jobs in by_share.items():
        assert [len(job.config["candidates"]) for job in jobs] == [1] * 9
        names = [next(iter(job.config["candidates"])) for job in jobs]
        assert names == sorted(names), "an order that has nothing to do with the suite's"
        assert [job.depends.get("earlier") for job in jobs] == [None, *(job.id for job in jobs[:-1])]
        assert all(len(job.after) == 2 for job in jobs), "its own, of two seeds"
        assert all(("before" in job.depends) == (share == "1/3") for job in jobs)
    for low, high in zip(*by_share.values(), strict=True):
        assert high.depends["before"] == low.id
        assert low.config["candidates"].keys() == high.config["candidates"].keys()
    limits = [1, 1, 1, 1, 1, 2, 2, 2, 3]
    for planned_cell in plan.cells:
        if planned_cell.rungs is not None:
            low, high = planned_cell.rungs.gates
            number = next(i for i, job in enumerate(by_share["1/9"]) if job.id == low.job)
            assert (low.limit, high.limit) == (limits[number],) * 2
            assert high.job == by_share["1/3"][number].id
    text = plan_text(plan, "text")
    rule = "of 9 tokenizers each trains on that is in the best 1/3 by psnr of those that have come so far"
    assert f"\nhalving shapes after 1/9 of the training: {rule}\nhalving shapes after 1/3" in text
    assert f"\nso {len(plan.jobs)} of the jobs run at most" in text, "each might be better than all before it"
    other = of_kind(planned(suite, eta=3, asynchronous=True, min=0.2), "halving")
    assert len(other) == 9
    assert [job.config["limit"] for job in by_share["1/3"]] == limits


def test_jobs_travel_with_what_they_go_on_from(suite: dict[str, Any]) -> None:
    for job in planned(suite, eta=3).jobs.values():
        again = job_from_json(json.loads(json.dumps(job_to_json(job))))
        assert (again.id, again.after, again.gates) == (job.id, job.after, job.gates)
        assert again.runtime.get(CONTINUES) == job.runtime.get(CONTINUES)


@pytest.fixture(scope="module")
def simulator(simulation: Callable[[str], ModuleType]) -> ModuleType:
    return simulation("halving")


def test_the_simulation_agrees_with_chance_with_certainty_and_with_the_decision(simulator: ModuleType) -> None:
    config = HalvingConfig(metric="psnr", eta=3, best=2)
    assert simulator.label(12, config) == "12 → 4 → 2 at 1/9, 1/3"
    assert simulator.saved(12, config) == pytest.approx(1 - (12 / 9 + 4 * 2 / 9 + 2 * 2 / 3) / 12)
    chance = simulator.simulate(0.0, 12, config, sweeps=20_000)
    assert chance.survived == pytest.approx(1 / 6, abs=4 * math.sqrt(5 / 36 / 20_000))
    # Of 12 normal values the mean of the greatest is 1.629, of 2 of them 0.564 (Harter 1961).
    assert chance.regret == pytest.approx(1.629 - 0.564, abs=0.03)
    sure = simulator.simulate(1.0, 12, config, sweeps=100)
    assert (sure.survived, sure.regret) == (1.0, 0.0)
    values = simulator.draws(0.5, 2, 9, 20_000, seed=3)
    corners = [np.corrcoef(values[i].ravel(), values[-1].ravel())[0, 1] for i in (0, 1)]
    assert corners == pytest.approx([0.5, math.sqrt(0.5)], abs=0.01)
    one_by_one = HalvingConfig(metric="psnr", eta=3, best=1, asynchronous=True)
    for alive, row in zip(
        zip(*simulator.surviving_one_by_one(values[:-1, :20], one_by_one), strict=True), range(20), strict=True
    ):
        left = [*range(9)]
        for number, through in enumerate(alive):
            passed = []
            for i, name in enumerate(left, start=1):
                better = sum(values[number, row, other] > values[number, row, name] for other in left[:i])
                passed += [name] if better < max(1, i // 3) else []
            assert np.flatnonzero(through).tolist() == passed
            left = passed
    # Of n values in random order, the i-th is among the best max(1, i // 3) of the first i with that share of chances.
    many = simulator.surviving_one_by_one(values[:1], one_by_one)[0].sum(1)
    assert many.mean() == pytest.approx(sum(max(1, i // 3) / i for i in range(1, 10)), abs=4 * many.std() / 20_000**0.5)
    few = values[:-1, :20]
    for sweep_scores, through in zip(few.swapaxes(0, 1), simulator.surviving(few, [3, 1]), strict=True):
        left = [*range(9)]
        for score, limit in zip(sweep_scores, (3, 1), strict=True):
            ranks = places({str(i): float(score[i]) for i in left}, higher=True)
            left = [i for i in left if (place := ranks[str(i)]) is not None and place <= limit]
        assert np.flatnonzero(through).tolist() == left


def test_a_simulated_sweep_takes_what_its_trainings_take(simulator: ModuleType) -> None:
    # Of three, of which a rung at 1/9 leaves one; one by one the first goes on in any case, and the others may.
    for asynchronous, ends in ((False, [3 / 9 + 8 / 9]), (True, [3 / 9 + n * 8 / 9 for n in (1, 2, 3)])):
        jobs = simulator.trainings(3, HalvingConfig(metric="psnr", asynchronous=asynchronous))
        span, worked = simulator.makespan(jobs, spread=0.0, seed=1)
        assert span == pytest.approx(1.0)
        assert min(abs(worked - end) for end in ends) < 1e-9


def sweep() -> dict[str, Job]:
    """Three tokenizers in the order a, b, c, of which two rungs leave two and then one."""
    jobs: list[Job] = []
    gates: dict[str, tuple[Gate, ...]] = dict.fromkeys("abc", ())
    for number, (alive, limit) in enumerate((("abc", 2), ("ab", 1)), start=1):
        rungs = {name: replace(fake("rung", f"{name}{number}"), gates=gates[name]) for name in "abc"}
        standings = {
            name: {
                "value": None,
                "place": 1 + alive.index(name) if name in alive else None,
                "note": "",
                "stopped": "" if name in alive else "stopped before",
            }
            for name in "abc"
        }
        extra = {"by": "psnr", "direction": "higher", "candidates": standings, "doubts": [], "absent": []}
        extra["rung"] = {"number": number, "share": f"1/{9 // 3 ** (number - 1)}"}
        after = tuple(rung.id for rung in rungs.values())
        decision = replace(fake("halving", f"h{number}"), after=after, runtime={"extra": extra})
        jobs += [*rungs.values(), decision]
        gates = {name: (Gate(job=decision.id, candidate=name, limit=limit),) for name in "abc"}
    jobs += [replace(fake("tokenizer", name), gates=gates[name]) for name in "abc"]
    return {job.id: job for job in jobs}


FINISHED = ("rung a1", "rung b1", "rung c1", "halving h1", "rung a2", "rung b2", "halving h2", "tokenizer a")
ENDS = dict.fromkeys(FINISHED, "finished") | dict.fromkeys(("rung c2", "tokenizer b", "tokenizer c"), "left out")


def test_the_second_rung_waits_for_the_first_decision(tmp_path: Path) -> None:
    jobs, store = sweep(), Store(tmp_path)
    keeper, schedule = Gatekeeper(store=store), Schedule(machine=MACHINE)
    waiting, ends, told = dict(jobs), dict[str, str](), set[str]()
    while waiting:
        for name, job in list(waiting.items()):
            stopped = keeper.stopped(job, failed=(), is_open=waiting.__contains__)
            if stopped is not None:
                del waiting[name]
                ends[job.title] = stopped.kind
                told.add(stopped.message)
        for name, allocation in schedule.starts(waiting, ()):
            job = waiting.pop(name)
            extra = job.runtime.get("extra", {})
            store.save(Record(kind=job.kind, key=job.key, status="finished", extra=extra))
            schedule.slots.release(allocation)
            ends[job.title] = "finished"
            break
    assert ends == ENDS
    assert told == {
        "stopped at rung 1: not among the 2 of 3 with the highest psnr after 1/9 of the training",
        "stopped at rung 2: not the highest psnr of 2 after 1/3 of the training",
        "stopped before",
    }
    order = list(ends)
    assert order.index("halving h1") < order.index("rung a2") < order.index("halving h2") < order.index("tokenizer a")
    finished = {name for name, job in jobs.items() if store.load(job.kind, job.key)}
    todo = {name: job for name, job in jobs.items() if name not in finished}
    assert {jobs[name].title for name in left_out(todo, finished, store)} == {"rung c2", "tokenizer b", "tokenizer c"}


def test_a_decision_without_what_had_failed_is_made_again_with_all_behind_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    decisions = {job.id: job for job in (fake("halving", "h1"), fake("halving", "h2"), fake("halving", "other"))}
    for job, absent in zip(decisions.values(), (["rung/x"], ["rung/x"], []), strict=True):
        store.save(Record(kind=job.kind, key=job.key, status="finished", extra={"absent": absent}))
    assert forget_partial(store, decisions) == [*decisions][:2]


def small(mini: dict[str, Any]) -> dict[str, Any]:
    tokenizer = {"recipe": "ae", "downsample": 4, "width": 8, "grid": {"channels": [1, 2, 4]}}
    training = {"steps": 8, "batch_size": 4}
    more = {"data": {**mini["data"], "size": 8, "samples": 16, "val": 8}}
    more |= {"tasks": ["reconstruction"], "reconstruction": {"rate": False}, "features": [], "training": training}
    return mini | {"tokenizers": [tokenizer]} | more


def plain(store: Store, job: str) -> dict[str, Any]:
    """The job's record without what may differ between two runs."""
    record = store.load(*job.split("/"))
    assert record is not None
    return {name: value for name, value in record.to_json().items() if name != "run"}


@pytest.mark.slow
def test_who_survives_is_what_a_plain_run_trains_and_more_train_on_later(
    mini: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    suite = small(mini)
    halving = {"halving": {"metric": "psnr", "eta": 2, "min": 0.25}}
    run_suite(suite, out=tmp_path / "plain", engine="inline")
    first = run_suite(suite | halving, out=tmp_path / "halved", engine="inline")
    assert (first.failed, first.left_out) == (0, 2 * 2)
    plain_store, store = Store(tmp_path / "plain"), Store(tmp_path / "halved")
    by_status: dict[str, list[Any]] = {}
    for row in rows([store]):
        by_status.setdefault(row["status"].partition(":")[0], []).append(row)
    (survivor,), stopped = by_status["finished"], by_status["stopped at rung 1"]
    assert survivor["axes"] == {"channels": 4}
    assert len(stopped) == 2
    for job in survivor.jobs.values():
        assert json.dumps(plain(store, job)) == json.dumps(plain(plain_store, job)), job
    rungs = {path.parent.name for path in store.root.glob(f"jobs/rung/*/{RUNG_CHECKPOINT}")}
    assert len(rungs) == 2, "those of the survivor are used up"
    assert "stopped at rung 1: not the highest psnr of 3" in next(iter(status(store.root).left_out))
    one_by_one = {"halving": {**halving["halving"], "asynchronous": True}}
    folders = [tmp_path / "one by one", tmp_path / "again"]
    for folder, engine in zip(folders, ("inline", "local"), strict=True):
        assert run_suite(suite | one_by_one, out=folder, engine=engine, devices="cpu").failed == 0
    decided = [{row["cell"]: row["status"] for row in rows([Store(folder)])} for folder in folders]
    assert decided[0] == decided[1], "whoever is faster"
    assert "finished" in decided[0].values()
    for row in rows([Store(folders[1])]):
        if row["status"] == "finished":
            for job in row.jobs.values():
                assert json.dumps(plain(Store(folders[1]), job)) == json.dumps(plain(plain_store, job)), job
        else:
            assert " so far after 1/4 of the training" in row["status"] or "so far with the highest" in row["status"]
    halving["halving"]["best"] = 3
    second = run_suite(suite | halving, out=store.root, engine="inline")
    assert (second.finished, second.failed, second.left_out) == (2 * 2, 0, 0)
    for row in rows([store]):
        assert row["status"] == "finished"
        for job in row.jobs.values():
            assert plain(store, job) == plain(plain_store, job)
        curve = store.job_folder(*row.jobs["tokenizer"].split("/")) / "curve.jsonl"
        timed = ["samples_per_second" in json.loads(line) for line in curve.read_text().splitlines()]
        assert timed == [False] * 2 + [True] * 6, "the first quarter's steps were not done again"
