"""A suite's gate: what it asks for, what is refused, and what its job makes of records."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from latentbench.bench.jobs import Job
from latentbench.bench.kinds.gate import GateConfig, GateJob
from latentbench.bench.plan import make_plan
from latentbench.bench.suite import load_suite
from latentbench.results.calibration.score import Score, Skill, Term
from latentbench.results.calibration.score_file import to_json
from latentbench.results.errors import UserError
from latentbench.results.metric import Metric
from latentbench.results.record import Record
from latentbench.results.store import Store


def write_score(path: Path, *terms: Term) -> str:
    skill = Skill(n=9, explained=0.5, spearman=None)
    facts: dict[str, Any] = {"outcome": "log gfd", "modalities": ("image",), "rows": 9, "family_count": 4}
    path.write_text(to_json(Score(intercept=0.5, terms=terms, families=skill, tables={}, **facts), []))
    return str(path)


TERM = Term(proxy="viv", logarithm=True, mean=0.0, deviation=1.0, coefficient=-2.0, low=0.5, high=4.0, protocol="of z")


@pytest.mark.parametrize(
    ("options", "limits"),
    [
        ({}, [1, 1, 2, 3, 4]),
        ({"share": 0.333}, [1, 1, 2, 3, 4]),
        ({"share": 0.5}, [1, 2, 3, 5, 6]),
        ({"best": 2}, [2] * 5),
    ],
)
def test_how_many_pass(options: dict[str, Any], limits: list[int]) -> None:
    assert [GateConfig(by="viv", **options).limit(n) for n in (1, 4, 6, 9, 12)] == limits


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ({"share": 0.5}, r"^suite: gate: needs `by`, a column such as viv, or `score`"),
        ({"by": "viv", "score": "s.json"}, r"^suite: gate: by or score, not both$"),
        ({"by": "viv", "share": 0.5, "best": 3}, r"^suite: gate: share or best, not both$"),
        ({"by": "viv", "share": 1.5}, r"^suite: gate.*: share lies above 0 and up to 1, got 1.5"),
        ({"by": "viv", "best": 0}, r"^suite: gate.*: best is at least 1, got 0"),
        (
            {"by": "viv", "group": ["tsrr"]},
            r"^suite: gate.group\[0\]: unknown fact of a tokenizer 'tsrr'; did you mean 'tsr'",
        ),
        ({"score": "s.json", "better": "lower"}, r"^suite: gate.better: of a score less is better; leave it out$"),
        ({"bye": "viv"}, r"^suite: gate: bye: unknown key; did you mean 'by'\?$"),
        ({"score": "none.json"}, r"^none.json: No such file or directory; shipped are: "),
        ({"by": "spectrum_slope"}, r"^suite: gate: spectrum_slope is measured by the proxy spectral_shape, which this"),
    ],
)
def test_what_is_refused(mini: dict[str, Any], gate: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_plan(load_suite(mini | {"gate": gate}), {})


def test_a_gate_needs_something_to_hold_back_and_to_rank_by(mini: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^suite: gate: has no effect without the task generation$"):
        make_plan(load_suite(mini | {"gate": {"by": "viv"}, "tasks": ["modelability"]}), {})
    with pytest.raises(UserError, match=r"viv is measured by the proxy viv, which this suite does not compute"):
        make_plan(load_suite(mini | {"gate": {"by": "viv"}, "tasks": ["generation"]}), {})
    empty = write_score(tmp_path / "empty.json")
    with pytest.raises(UserError, match=r"^suite: gate.score: .*empty.json: No proxy earned a place"):
        make_plan(load_suite(mini | {"gate": {"score": empty}}), {})


@pytest.mark.parametrize("by", ["viv", "score"])
def test_its_record_ranks_what_the_records_say(mini: dict[str, Any], tmp_path: Path, by: str) -> None:
    path = write_score(tmp_path / "score.json", TERM)
    gate = {"by": "viv"} if by == "viv" else {"score": path}
    plan = make_plan(load_suite(mini | {"gate": gate, "seeds": [0, 1]}), {})
    (job,) = (job for job in plan.jobs.values() if job.kind == "gate")
    assert path not in json.dumps(job.config), "what the file holds, and not where it lies"
    store = Store(tmp_path / "out")
    values = {("kl-vae", 0): 2.0, ("kl-vae", 1): 4.0, ("vq-vae", 0): 2.0}
    for cell in plan.cells:
        value = values.get((cell.cell.recipe, cell.cell.seed))
        if value is not None:
            viv = Metric(name="viv", value=value, direction="lower", role="modelability")
            kind, key = cell.jobs["modelability"].split("/")
            store.save(Record(kind=kind, key=key, status="finished", metrics=(viv,)))
    extra = GateJob().run(SimpleNamespace(job=job, store=store)).extra
    ranked = {one["name"]: (one["value"], one["place"]) for one in extra["candidates"].values()}
    # A score is 0.5 - 2 log viv, of the mean over seeds: here more of viv is better.
    expected = {"kl-vae": (3.0, 2), "vq-vae": (2.0, 1)}
    if by == "score":
        expected = {"kl-vae": (0.5 - 2 * math.log(3.0), 1), "vq-vae": (0.5 - 2 * math.log(2.0), 2)}
    assert {name: (pytest.approx(value), place) for name, (value, place) in ranked.items()} == expected
    assert set(extra["absent"]) == {*job.after} - {c.jobs["modelability"] for c in plan.cells[:3]}


def test_what_its_score_was_fitted_on_is_doubted_and_moves_no_key(mini: dict[str, Any], tmp_path: Path) -> None:
    path = write_score(tmp_path / "score.json", TERM)
    gated = mini | {"gate": {"score": path}}

    def gate() -> Job:
        return next(job for job in make_plan(load_suite(gated), {}).jobs.values() if job.kind == "gate")

    free = gate()
    fitted = next(cell.jobs["tokenizer"] for cell in make_plan(load_suite(gated), {}).cells)
    plain = json.loads(Path(path).read_text())
    plain["fitted on"] = [{"jobs": [fitted, "tokenizer/of-another-suite"]}]
    plain["left out"] = [{"family": 0, "predicted": 0.0, "measured": 1.0}]
    Path(path).write_text(json.dumps(plain))
    job = gate()
    assert job.key == free.key
    assert job.runtime["fitted_jobs"] == [fitted]
    store = Store(tmp_path / "out")
    for cell in make_plan(load_suite(gated), {}).cells:
        kind, key = cell.jobs["modelability"].split("/")
        viv = Metric(name="viv", value=2.0, direction="lower", role="modelability", protocol="of z")
        store.save(Record(kind=kind, key=key, status="finished", metrics=(viv,)))
    extra = GateJob().run(SimpleNamespace(job=job, store=store)).extra
    assert sorted(one["note"] for one in extra["candidates"].values()) == ["", "the score was fitted on it"]
