"""Gates in a plan and in a run: who is a candidate, what waits for whom, and that all engines decide alike."""

from __future__ import annotations

import math
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from latentbench.bench import cli
from latentbench.bench.catalogue import plan_text
from latentbench.bench.engines.board import Board, Work, take_part
from latentbench.bench.engines.client import Server
from latentbench.bench.engines.interface import EngineSettings, Event
from latentbench.bench.engines.leases import LeaseEngine
from latentbench.bench.engines.local import LocalEngine
from latentbench.bench.gates import Gatekeeper, at_most, forget_partial, left_out
from latentbench.bench.hardware import Device, Machine
from latentbench.bench.jobs import Job
from latentbench.bench.plan import Plan, make_plan
from latentbench.bench.plan_file import PlanFile, job_from_json, job_to_json, joined_jobs, write_plan
from latentbench.bench.plan_overview import read_overview
from latentbench.bench.runner import run_suite
from latentbench.bench.status import status
from latentbench.bench.suite import load_suite
from latentbench.results.gates import Gate, places
from latentbench.results.record import Failure, Record
from latentbench.results.rows import rows
from latentbench.results.store import Store

# A server that imports no torch, as its workers need none: a gate's record is what its job says.
SERVER = """
from latentbench.bench import worker
from latentbench.bench.engines import server
from latentbench.bench.worker_protocol import WorkerRequest
from latentbench.results.record import Failure, Record
from latentbench.results.store import Store

def work(data):
    request = WorkerRequest.from_json(data)
    job = request.job
    facts = {"kind": job.kind, "key": job.key, "config": job.config, "extra": job.runtime.get("extra", {})}
    fails = job.config.get("fails", False)
    if fails:
        facts["error"] = Failure(type="ValueError", message="bad")
    Store(request.root).save(Record(status="failed" if fails else "finished", **facts), replace=not request.lease)
    return 1 if fails else 0

worker.preload = lambda: None
worker.preload_for = lambda *_: None
worker.work = work
server.main()
"""
MACHINE = Machine(devices=(Device(name="cpu", units=2, memory=100),), cores=2)


def planned(suite: dict[str, Any], **gate: Any) -> Plan:
    return make_plan(load_suite(suite | ({"gate": gate} if gate else {})), {"shapes": "f"})


@pytest.fixture
def suite(mini: dict[str, Any]) -> dict[str, Any]:
    tokenizers = [{"recipe": "pca", "grid": {"channels": [2, 4, 8]}}, *mini["tokenizers"]]
    return mini | {"tokenizers": tokenizers, "seeds": [0, 1]}


@pytest.fixture(scope="module")
def simulator(simulation: Callable[[str], ModuleType]) -> ModuleType:
    return simulation("gates")


def test_a_gate_moves_no_key_and_comes_between(suite: dict[str, Any]) -> None:
    free, gated = planned(suite), planned(suite, by="viv", share=0.4)
    kinds = [job.kind for job in gated.jobs.values()]
    assert {name for name in gated.jobs if not name.startswith("gate/")} == set(free.jobs)
    assert kinds.count("gate") == 1
    first = kinds.index("gate")
    assert {"prior", "generation"} & set(kinds[:first]) == set()
    assert set(kinds[first + 1 :]) == {"prior", "generation"}
    gate = [*gated.jobs.values()][first]
    assert set(gate.after) >= {cell.jobs["modelability"] for cell in gated.cells}
    assert not {gated.jobs[name].kind for name in gate.after} & {"prior", "generation", "reference"}
    assert gate.depends == {}, "what has failed does not stop it"
    for cell in gated.cells:
        assert cell.gate is not None
        assert (cell.gate.job, cell.gate.limit, set(cell.held)) == (gate.id, 2, {"prior", "generation"})
        assert gated.jobs[cell.jobs["prior"]].waits[-1] == gate.id
        assert gate.id in cell.shared
        assert cell.to_json()["gate"]["candidate"] == cell.gate.candidate
    assert "gate" not in free.cells[0].to_json()


def test_seeds_and_priors_of_a_tokenizer_are_one_candidate(suite: dict[str, Any]) -> None:
    vq = suite["tokenizers"][-1]
    both = [vq | {"grid": {"prior": {"name": ["ar", "maskgit"]}}}, vq | {"label": "again", "prior": "maskgit"}]
    plan = planned(suite | {"tokenizers": [suite["tokenizers"][0], *both]}, by="viv", best=2)
    (gate,) = (job for job in plan.jobs.values() if job.kind == "gate")
    assert len(gate.config["candidates"]) == 4
    candidates = Counter(cell.gate.candidate for cell in plan.cells if cell.gate)
    assert sorted(candidates.values()) == [2, 2, 2, 6]
    few = vq | {"label": "few", "prior": "maskgit", "seeds": [1]}
    more = planned(suite | {"tokenizers": [suite["tokenizers"][0], few, *both]}, by="viv", best=2)
    assert gate.id in more.jobs, "a label with some of its seeds is the same tokenizer"
    cells = gate.runtime["cells"]
    assert all([cell["seed"] for cell in of] == [0, 1] for of in cells.values())
    assert not any("prior" in cell["jobs"] or "prior.name" in cell["axes"] for of in cells.values() for cell in of)


def test_how_many_pass_moves_no_key_and_what_ranks_does(suite: dict[str, Any]) -> None:
    def gates(**options: Any) -> set[str]:
        return {name for name in planned(suite, **options).jobs if name.startswith("gate/")}

    suite["modelability"] = {"proxies": ["viv", "effective_rank"]}
    narrow = gates(by="viv")
    assert narrow == gates(by="viv", share=0.8) == gates(by="viv", best=1)
    assert narrow != gates(by="effective_rank", better="lower") != gates(by="effective_rank", better="higher")
    assert gates(by="viv", share=1.0) == gates(by="viv", best=5) == set(), "all pass"


def test_groups_have_equal_facts(suite: dict[str, Any]) -> None:
    plan = planned(suite, by="viv", group=["tsr"], best=1)
    groups = [job for job in plan.jobs.values() if job.kind == "gate"]
    by_tsr = Counter(f"{cell.cell.tokenizer.spec.tsr:.6g}" for cell in plan.cells)
    assert sorted(len(job.config["candidates"]) for job in groups) == sorted(n // 2 for n in by_tsr.values() if n > 2)
    assert {job.title for job in groups} == {f"gate shapes tsr={tsr}" for tsr, n in by_tsr.items() if n > 2}
    alone = [cell for cell in plan.cells if by_tsr[f"{cell.cell.tokenizer.spec.tsr:.6g}"] == 2]
    assert all(cell.gate is None and not plan.jobs[cell.jobs["prior"]].gates for cell in alone)


def test_a_plan_says_how_much_runs_at_most(suite: dict[str, Any]) -> None:
    plan = planned(suite, by="viv", best=2)
    most = at_most(plan.jobs)
    held = [job for job in most.values() if job.gates]
    assert len(held) == 2 * 2 * 2, "of two tokenizers with two seeds the prior and its samples"
    costs = dict.fromkeys((cell.gate.candidate for cell in plan.cells if cell.gate), 0.0)
    for job in plan.jobs.values():
        for gate in job.gates:
            costs[gate.candidate] += job.flops
    assert sum(job.flops for job in held) == pytest.approx(sum(sorted(costs.values())[-2:]))
    text = plan_text(plan, "text")
    assert "\ngate shapes: priors for the best 2 of 5 tokenizers by viv\n" in text
    assert f"\nso {len(most)} of the jobs run at most (more where tokenizers are equal)\n" in text
    assert at_most(planned(suite).jobs) == planned(suite).jobs


def test_jobs_travel_with_their_gates(suite: dict[str, Any], tmp_path: Path) -> None:
    plan = planned(suite, by="viv", best=2)
    for job in plan.jobs.values():
        again = job_from_json(job_to_json(job))
        assert (again.id, again.after, again.gates) == (job.id, job.after, job.gates)
    store = Store(tmp_path)
    write_plan(plan, "leases", EngineSettings(store=store, cache=tmp_path))
    assert {name: job.gates for name, job in read_overview(tmp_path).items()} == {
        name: job.gates for name, job in plan.jobs.items()
    }


def test_of_two_plans_the_more_open_one_counts() -> None:
    job = Job(kind="prior", config={}, versions={})
    one, two = (replace(job, gates=(Gate(job=f"gate/{name}", candidate="a", limit=1),)) for name in "gh")

    def joined(*jobs: Job) -> tuple[Gate, ...]:
        plans = [PlanFile(suite="s", jobs={j.id: j}, engine="leases", imports=(), settings={}) for j in jobs]
        return joined_jobs(plans)[job.id].gates

    assert joined(one, two) == one.gates + two.gates
    assert joined(one, job) == joined(job, one) == ()


def fake(kind: str, name: str, *needs: Job, **config: Any) -> Job:
    depends = {f"need{i}": need.id for i, need in enumerate(needs)}
    title = f"{kind} {name}"
    return Job(kind=kind, config={"name": name, **config}, versions={}, depends=depends, title=title, memory=1)


def sweep(limit: int) -> dict[str, Job]:
    """Three tokenizers a, b, c in this order by the proxy, whose priors a gate holds back; d's proxy fails."""
    measured = {name: fake("modelability", name, fails=name == "d") for name in "abcd"}
    ranks = {"a": 1, "b": 2, "c": 3, "d": None}
    candidates = {name: {"name": name, "value": place, "place": place, "note": ""} for name, place in ranks.items()}
    extra = {"by": "viv", "direction": "lower", "candidates": candidates, "doubts": [], "absent": [measured["d"].id]}
    gate = replace(fake("gate", "g"), after=tuple(j.id for j in measured.values()), runtime={"extra": extra})
    jobs = [*measured.values(), gate]
    for name in "abcd":
        gates = (Gate(job=gate.id, candidate=name, limit=limit),)
        prior = replace(fake("prior", name), gates=gates)
        jobs += [prior, replace(fake("generation", name, prior), gates=gates)]
    return {job.id: job for job in jobs}


def outcome(events: list[Event], jobs: dict[str, Job]) -> dict[str, str]:
    """By title how each job ended."""
    ends = ("finished", "failed", "skipped", "left out")
    return {jobs[event.job].title: event.kind for event in events if event.kind in ends}


def expected(through: str) -> dict[str, str]:
    ends = {f"modelability {name}": "failed" if name == "d" else "finished" for name in "abcd"} | {"gate g": "finished"}
    for name in "abcd":
        ends |= {f"{kind} {name}": "finished" if name in through else "left out" for kind in ("prior", "generation")}
    return ends


@pytest.fixture
def _server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    monkeypatch.setattr(Server, "command", (sys.executable, "-P", str(script)))


def engine(of: type[LocalEngine], out: Path) -> LocalEngine:
    result = of(EngineSettings(store=Store(out), cache=out / "cache", devices="cpu"))
    result.machine = MACHINE
    return result


@pytest.mark.slow
@pytest.mark.usefixtures("_server")
def test_more_are_let_through_later_and_nothing_is_done_again(tmp_path: Path) -> None:
    jobs, store = sweep(1), Store(tmp_path / "out")
    events = [*engine(LocalEngine, store.root).run(jobs)]
    assert outcome(events, jobs) == expected("a")
    messages = {event.message for event in events if event.kind == "left out"}
    assert messages == {"not the lowest viv of 4"}
    ends = [event.job for event in events if event.kind in ("finished", "failed", "left out")]
    kinds = [jobs[name].kind for name in ends]
    assert kinds.index("gate") == 4, "after all that it reads, and before all that it holds back"
    finished = {name: job for name, job in jobs.items() if store.load(job.kind, job.key)}
    again = sweep(3)
    assert again.keys() == jobs.keys()
    todo = {name: job for name, job in again.items() if name not in finished and job.kind != "modelability"}
    assert {again[name].title for name in left_out(todo, finished, store)} == {"prior d", "generation d"}
    second = engine(LocalEngine, store.root)
    second.finished = finished
    events = [*second.run(todo)]
    assert outcome(events, again) == {
        name: end for name, end in expected("abc").items() if name.split()[1] in "bcd" and "model" not in name
    }


def test_a_gate_that_fails_stops_what_it_holds_back(tmp_path: Path) -> None:
    jobs, keeper = sweep(1), Gatekeeper(store=Store(tmp_path))
    (gate,) = (name for name, job in jobs.items() if job.kind == "gate")
    (held, *_) = (job for job in jobs.values() if job.gates)
    assert keeper.stopped(held, failed=set(), is_open={gate}.__contains__) is None
    stopped = keeper.stopped(held, failed={gate}, is_open=lambda name: False)
    assert stopped == Event(kind="skipped", job=held.id, message=f"{gate} failed")
    other = replace(held, gates=(*held.gates, Gate(job="gate/other", candidate="a", limit=1)))
    assert keeper.stopped(other, failed={gate}, is_open={"gate/other"}.__contains__) is None


@pytest.mark.slow
@pytest.mark.usefixtures("_server")
def test_machines_that_share_a_folder_decide_alike(tmp_path: Path) -> None:
    jobs, told = sweep(2), list[list[Event]]()
    machines = [engine(LeaseEngine, tmp_path / "out") for _ in range(2)]
    threads = [threading.Thread(target=lambda one=one: told.append([*one.run(jobs)])) for one in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert [outcome(events, jobs) for events in told] == [expected("ab")] * 2
    started = {jobs[event.job].title for events in told for event in events if event.kind == "started"}
    assert not started & {"prior c", "prior d", "generation c", "generation d"}


@pytest.mark.slow
@pytest.mark.usefixtures("_server")
def test_nodes_of_a_cluster_decide_alike(tmp_path: Path) -> None:
    jobs = sweep(2)
    board = Board(Work(waiting=[*map(job_to_json, jobs.values())], finished=[]))
    threads = []
    for name in "pq":  # each with a disk of its own
        settings = EngineSettings(store=Store(tmp_path / name), cache=tmp_path / "cache")
        threads.append(threading.Thread(target=take_part, args=(name, board, settings, MACHINE), kwargs={"host": name}))
        threads[-1].start()
    for thread in threads:
        thread.join(300)
    events = [event for event, _ in board.news()]
    assert outcome(events, jobs) == expected("ab")
    assert Counter(event.kind for event in events)["left out"] == 4, "each is told once"
    late = board.join("late", 1, 1)
    assert late.waiting == []
    assert {job["title"] for job in late.finished} == {
        name for name, end in expected("ab").items() if end == "finished"
    }


def test_what_was_decided_without_a_failure_is_decided_again(tmp_path: Path) -> None:
    jobs, store = sweep(1), Store(tmp_path)
    (gate,) = (job for job in jobs.values() if job.kind == "gate")
    for extra, forgotten in ((gate.runtime["extra"], [gate.id]), (gate.runtime["extra"] | {"absent": []}, [])):
        store.save(Record(kind=gate.kind, key=gate.key, status="finished", extra=extra))
        assert forget_partial(store, {gate.id: gate}) == forgotten
        assert (store.load(gate.kind, gate.key) is None) == bool(forgotten)


def test_a_status_counts_what_is_left_out(suite: dict[str, Any], tmp_path: Path) -> None:
    plan = planned(suite, by="viv", best=2)
    store = Store(tmp_path)
    write_plan(plan, "leases", EngineSettings(store=store, cache=tmp_path))
    before = status(tmp_path)
    assert (before.waiting, before.left_out) == (len(plan.jobs), {})
    (gate,) = (job for job in plan.jobs.values() if job.kind == "gate")
    names = [*gate.config["candidates"]]
    candidates = {name: {"name": name, "value": i, "place": 1 + i, "note": ""} for i, name in enumerate(names)}
    extra = {"by": "viv", "direction": "lower", "candidates": candidates, "doubts": [], "absent": []}
    store.save(Record(kind=gate.kind, key=gate.key, status="finished", extra=extra))
    after = status(tmp_path)
    assert after.left_out == {"not among the 2 of 5 with the lowest viv": 3 * 2 * 2}
    assert after.waiting == len(plan.jobs) - 1 - 12
    store.save(Record(kind=gate.kind, key=gate.key, status="failed", error=Failure(type="UserError", message="no viv")))
    assert status(tmp_path).skipped == 5 * 2 * 2
    for absent, decided in (([], True), (["modelability/x"], False)):
        store.save(Record(kind=gate.kind, key=gate.key, status="finished", extra=extra | {"absent": absent}))
        assert cli.main(["retry", str(tmp_path), "--failed"]) == 0
        assert (store.load(gate.kind, gate.key) is not None) == decided


def test_a_gatekeeper_reads_a_record_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, store = sweep(1), Store(tmp_path)
    (gate,) = (job for job in jobs.values() if job.kind == "gate")
    store.save(Record(kind=gate.kind, key=gate.key, status="finished", extra=gate.runtime["extra"]))
    reads = list[str]()
    load = Store.load

    def counted(self: Store, kind: str, key: str) -> Record | None:
        reads.append(key)
        return load(self, kind, key)

    monkeypatch.setattr(Store, "load", counted)
    keeper = Gatekeeper(store=store)
    held: Iterator[Job] = (job for job in jobs.values() if job.gates)
    reasons = [keeper.reason(job.gates) for job in held]
    assert (reasons.count(""), len(reads)) == (2, 1)


def test_the_simulation_agrees_with_chance_and_with_the_decision(simulator: ModuleType) -> None:
    chance = simulator.simulate(0.0, 12, 1 / 3, sweeps=20_000)
    assert chance.survived == pytest.approx(1 / 3, abs=4 * math.sqrt(2 / 9 / 20_000))
    # Of 12 normal values the mean of the least is -1.629, of 4 of them -1.029 (Harter 1961).
    assert chance.regret == pytest.approx(1.629 - 1.029, abs=0.02)
    sure = simulator.simulate(1.0, 12, 1 / 3, sweeps=100)
    assert (sure.survived, sure.regret) == (1.0, 0.0)
    score, _ = simulator.draws(0.5, 9, 20, seed=3)
    for row, through in zip(score, simulator.passing(score, 3), strict=True):
        ranks = places({str(i): float(value) for i, value in enumerate(row)}, higher=False)
        assert [place is not None and place <= 3 for place in ranks.values()] == through.tolist()


@pytest.mark.slow
def test_a_run_trains_more_priors_once_more_may_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    small = {
        "name": "small",
        "data": {"name": "shapes", "modality": "image", "size": 8, "samples": 32, "val": 16},
        "tokenizers": [{"recipe": "pca", "downsample": 4, "grid": {"channels": [2, 4, 8]}}],
        "tasks": ["generation", "modelability"],
        "modelability": {"proxies": ["viv"]},
        "features": ["scattering"],
        "generation": {"samples": 8},
        "prior": {"training": {"steps": 1, "batch_size": 4}, "flow": {"width": 8, "layers": 1, "steps": 1}},
        "gate": {"by": "viv", "best": 1},
    }

    def run(*sets: str) -> tuple[int, int, int, int]:
        options: dict[str, Any] = {"engine": "inline", "devices": "cpu", "console": Console(quiet=True)}
        end = run_suite(small, out=tmp_path / "out", sets=sets, **options)
        return end.before, end.finished, end.failed, end.left_out

    total = 1 + 2 + 3 * 3 + 1  # data, references, tokenizers with latents and proxies, gate
    assert run() == (0, total + 2, 0, 4)
    assert run() == (total + 2, 0, 0, 4)
    cells = {row["channels"]: (row["viv"], row["status"]) for row in rows([tmp_path / "out"])}
    best = min(cells, key=lambda channels: cells[channels][0])
    assert [channels for channels, (_, ended) in cells.items() if ended == "finished"] == [best]
    assert run("gate.best=2") == (total + 2, 2, 0, 2)
    assert sorted(row["status"] for row in rows([tmp_path / "out"]))[:2] == ["finished"] * 2
    assert run("gate.best=1") == (total + 4, 0, 0, 2), "what is there stays"
    assert sum(row["status"] == "finished" for row in rows([tmp_path / "out"])) == 2
