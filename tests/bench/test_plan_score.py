"""A plan's tokenizers by a fitted score: their order, what is missing, how sure the choice is, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench import cli
from latentbench.bench.footprints import Footprints
from latentbench.bench.hardware import Device, Machine
from latentbench.bench.plan import Plan, make_plan
from latentbench.bench.plan_cost import plan_cost
from latentbench.bench.plan_score import Advice, TableAdvice, advise
from latentbench.bench.suite import load_suite
from latentbench.results.calibration.levels import Correlation
from latentbench.results.calibration.score import LeftOut, Score, Skill, Term
from latentbench.results.calibration.score_file import to_json
from latentbench.results.errors import UserError
from latentbench.results.metric import Metric
from latentbench.results.record import Failure, Record
from latentbench.results.store import Store

MACHINE = Machine(devices=(Device(name="cpu", units=2, memory=10**9, title="CPU"),), cores=2)
TERM = Term(proxy="viv", logarithm=False, mean=0.0, deviation=1.0, coefficient=1.0, low=0.0, high=20.0, protocol="of z")
SCORE = Score(
    intercept=0.0,
    terms=(TERM,),
    outcome="log gfd_encoder",
    modalities=("image",),
    rows=6,
    family_count=3,
    families=Skill(n=6, explained=0.9, spearman=Correlation(value=0.9, low=0.5, high=1.0, n=6)),
    tables={},
    fitted_jobs=frozenset({"tokenizer/another"}),
    margins=(0.5,) * 9,
    left_out=tuple(LeftOut(family=i // 2, predicted=0.0, measured=0.1 * (i - 2)) for i in range(6)),
)


@pytest.fixture
def suite(mini: dict[str, Any]) -> dict[str, Any]:
    tokenizers = [{"recipe": "pca", "grid": {"channels": [2, 4, 8]}}, *mini["tokenizers"]]
    return mini | {"tokenizers": tokenizers, "seeds": [0, 1], "tasks": ["generation", "modelability"]}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "out")


def measure(plan: Plan, store: Store, kind: str, name: str, values: dict[str, float], *, seeds: int = 2) -> None:
    """Give the cells whose names begin so a record of this kind with a metric, and one of their tokenizer."""
    for planned in plan.cells:
        cell = planned.cell
        matching = [value for start, value in values.items() if cell.name.startswith(f"shapes {start} ")]
        if not matching or cell.seed >= seeds:
            continue
        metric = Metric(name=name, value=matching[0], direction="lower", role="modelability", protocol="of z")
        for of, metrics in (("tokenizer", ()), (kind, (metric,))):
            key = planned.jobs[of].split("/")[1]
            store.save(Record(kind=of, key=key, status="finished", metrics=metrics))


def advice_of(plan: Plan, store: Store, tmp_path: Path, score: Score = SCORE, **options: Any) -> Advice:
    file = tmp_path / "score.json"
    file.write_text(to_json(score, []) if not score.fitted_jobs else _with_jobs(score))
    cost = plan_cost(plan.jobs, MACHINE, store, Footprints(None))
    return advise(plan, file, store, cost, **{"best": 2} | options)


def _with_jobs(score: Score) -> str:
    plain = json.loads(to_json(score, []))
    plain["fitted on"] = [{"jobs": sorted(score.fitted_jobs)}]
    return json.dumps(plain)


def table_of(plan: Plan, store: Store, tmp_path: Path, **options: Any) -> TableAdvice:
    (table,) = advice_of(plan, store, tmp_path, **options).tables
    return table


VIVS = {"pca channels=2": 3.0, "pca channels=4": 1.0, "kl-vae": 2.0, "vq-vae": 4.0}


def test_the_order_is_by_score_and_what_is_missing_is_named(
    suite: dict[str, Any], store: Store, tmp_path: Path
) -> None:
    plan = make_plan(load_suite(suite), {})
    measure(plan, store, "modelability", "viv", VIVS)
    table = table_of(plan, store, tmp_path)
    names = ["pca (channels=4)", "kl-vae", "pca (channels=2)", "vq-vae", "pca (channels=8)"]
    assert [item.name for item in table.choice.candidates] == names
    assert [item.value for item in table.choice.candidates] == [1.0, 2.0, 3.0, 4.0, None]
    assert [item.name for item in table.choice.chosen] == names[:2]
    assert table.doubts(table.choice.candidates[-1]) == "viv is missing; its tokenizer is not trained"
    # An error is at most .2 × √(2 / χ²) with two degrees of freedom; scores are 1 apart.
    assert table.choice.candidates[0].chance > 0.9  # type: ignore[operator]
    assert table.choice.sure == pytest.approx(1.0, abs=0.05)
    head, *rows, _, odds, band, silent, price = table.lines()
    assert head.split() == ["full", "prior", "shapes", "score", "is", "the", "best", "TFLOP"]
    assert [row.startswith("yes ") for row in rows] == [True, True, False, False, False]
    assert odds.startswith("The best of the 4 with a score is among the chosen 2 with a probability of ")
    assert "(by chance 0.50)" in odds
    assert band.startswith("Of new families 95 % lie within ±")
    assert silent == "It says nothing of 1 without a score."
    assert " % of the " in price


def test_costs_are_those_of_priors_and_what_reads_them(suite: dict[str, Any], store: Store, tmp_path: Path) -> None:
    plan = make_plan(load_suite(suite), {})
    measure(plan, store, "modelability", "viv", VIVS)
    table = table_of(plan, store, tmp_path)
    held = {name: job.flops for name, job in table.cost.jobs.items() if job.kind in ("prior", "generation")}
    assert table.flops(table.choice.candidates) == pytest.approx(sum(held.values()))
    first = table.jobs["pca (channels=4)"]
    assert len(first) == 4
    assert table.flops(table.choice.candidates[:1]) == pytest.approx(sum(held[name] for name in first))
    plain = advice_of(plan, store, tmp_path).to_json()["tables"][0]
    assert 0 < plain["flops"] < plain["flops_of_all"]
    assert 0 < plain["seconds"] < plain["seconds_of_all"]
    for name in first:
        store.save(Record(kind=name.split("/")[0], key=name.split("/")[1], status="finished"))
    assert advice_of(plan, store, tmp_path).to_json()["tables"][0]["seconds"] < plain["seconds"]


def test_priors_of_one_tokenizer_are_one_candidate(suite: dict[str, Any], store: Store, tmp_path: Path) -> None:
    vq = suite["tokenizers"][-1] | {"grid": {"prior": {"name": ["ar", "maskgit"]}}}
    plan = make_plan(load_suite(suite | {"tokenizers": [vq], "seeds": [0]}), {})
    for planned, gfd in zip(plan.cells, (8.0, 5.0), strict=True):
        metric = Metric(name="gfd_encoder", value=gfd, direction="lower")
        kind, key = planned.jobs["generation"].split("/")
        store.save(Record(kind=kind, key=key, status="finished", metrics=(metric,)))
    (item,) = table_of(plan, store, tmp_path).choice.candidates
    assert (item.name, item.outcome) == ("vq-vae", 5.0)


def test_what_is_missing_is_told_by_task(suite: dict[str, Any], store: Store, tmp_path: Path) -> None:
    plan = make_plan(load_suite(suite), {})
    measure(plan, store, "modelability", "viv", VIVS, seeds=1)
    two = replace(SCORE, terms=(TERM, replace(TERM, proxy="cfd_best_encoder")))
    table = table_of(plan, store, tmp_path, score=two)
    told = {item.name: table.lacking[item.name] for item in table.choice.candidates}
    assert told["kl-vae"] == "its tokenizer is not trained; add closed_form to the suite's tasks"
    assert table.choice.sure is None
    assert "Full priors of all 5: " in table.lines()[-1]
    half = table_of(plan, store, tmp_path)
    (one,) = (item for item in half.choice.candidates if item.name == "kl-vae")
    assert one.value == 2.0
    assert half.doubts(one) == "viv is missing; its tokenizer is not trained"
    for planned in plan.cells:
        store.save(Record(kind="tokenizer", key=planned.jobs["tokenizer"].split("/")[1], status="finished"))
    error = Failure(type="ValueError", message="bad")
    failed = next(p for p in plan.cells if p.cell.name.startswith("shapes pca channels=8"))
    kind, key = failed.jobs["modelability"].split("/")
    store.save(Record(kind=kind, key=key, status="failed", error=error))
    later = table_of(plan, store, tmp_path)
    assert later.lacking["kl-vae"] == "modelability is not done"
    assert later.lacking["pca (channels=8)"] == "modelability has failed"


def test_what_the_best_so_far_leaves_out(suite: dict[str, Any], store: Store, tmp_path: Path) -> None:
    plan = make_plan(load_suite(suite), {})
    measure(plan, store, "modelability", "viv", VIVS | {"kl-vae": 1.2})
    assert not any(item.stopped for item in table_of(plan, store, tmp_path).choice.candidates)
    measure(plan, store, "generation", "gfd_encoder", {"pca channels=4": 5.0, "pca channels=2": 9.0})
    table = table_of(plan, store, tmp_path)
    marks = {item.name: table.mark(place, item) for place, item in enumerate(table.choice.candidates)}
    assert marks == {
        "pca (channels=4)": "yes, is trained",
        "kl-vae": "yes",
        "pca (channels=2)": "is trained",
        "vq-vae": "leave out",
        "pca (channels=8)": "",
    }
    assert [item.name for item in table_of(plan, store, tmp_path, best=4).choice.chosen] == [
        "pca (channels=4)",
        "kl-vae",
        "pca (channels=2)",
    ]
    surer = table_of(plan, store, tmp_path, risk=0.05)
    assert not any(item.stopped for item in surer.choice.candidates)


def test_a_suite_without_priors_has_no_price(suite: dict[str, Any], store: Store, tmp_path: Path) -> None:
    plan = make_plan(load_suite(suite | {"tasks": ["modelability"]}), {})
    measure(plan, store, "modelability", "viv", VIVS)
    assert table_of(plan, store, tmp_path).lines()[-1].startswith("The suite trains no priors")
    nothing = make_plan(load_suite(suite | {"tasks": ["reconstruction"]}), {})
    with pytest.raises(UserError, match="so that no proxy can be measured: add modelability"):
        advice_of(nothing, store, tmp_path)


def test_the_command(
    suite: dict[str, Any],
    tmp_path: Path,
    write_suite: Callable[[dict[str, Any]], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    file, score = write_suite(suite), tmp_path / "score.json"
    score.write_text(to_json(SCORE, []))
    words = ["plan", str(file), "--out", str(tmp_path / "out"), "--score", str(score)]
    assert cli.main([*words, "--best", "1"]) == 0
    assert "The score has skill on families that it was not fitted on." in capsys.readouterr().out
    assert cli.main([*words, "--format", "json"]) == 0
    plain = json.loads(capsys.readouterr().out)["score"]
    assert (plain["has_skill"], len(plain["tables"][0]["candidates"])) == (True, 5)
    assert cli.main(["plan", str(file), "--best", "1"]) == 2
    assert capsys.readouterr().err.strip().endswith("--best: is about --score; give it too")
    with pytest.raises(SystemExit):
        cli.main([*words, "--risk", "2"])
