"""Tokenizers ranked for a gate: by a column with its own direction, or by a fitted score."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from latentbench.results.calibration.score import Score, Skill, Term
from latentbench.results.errors import UserError
from latentbench.results.groups import Group
from latentbench.results.metric import Metric
from latentbench.results.metrics import Metrics
from latentbench.results.rows import Row
from latentbench.results.standings import standings

SPEC = {"positions": 16, "elements": 64, "channels": 4, "downsample": 4, "discrete": False, "topology": "grid"}


def group(name: str, *values: float | None, **spec: Any) -> Group:
    """One tokenizer with a value of `viv` for each seed."""
    rows = []
    for seed, value in enumerate(values):
        metric = Metric(name="viv", value=value, direction="lower", role="modelability")
        psnr = Metric(name="psnr", value=-(value or 0.0), direction="higher", role="distortion")
        metrics = {"viv": metric, "psnr": psnr, "bare": Metric(name="bare", value=value)}
        columns = {"seed": seed, "status": "missing", **SPEC, **spec}
        rows.append(Row(columns=columns, axes={}, metrics=Metrics.of(metrics), jobs={}))
    return Group(suite="s", dataset="d", modality="image", recipe="r", label=name, axes={}, rows=tuple(rows))


GROUPS = {"a": group("a", 3.0, 5.0), "b": group("b", 2.0, None), "c": group("c", 1.0, 9.0), "d": group("d", None)}


def test_a_column_ranks_by_the_mean_over_seeds_its_own_way() -> None:
    extra = standings(GROUPS, column="viv")
    assert {name: (one["value"], one["place"]) for name, one in extra["candidates"].items()} == {
        "a": (4.0, 2),
        "b": (2.0, 1),
        "c": (5.0, 3),
        "d": (None, None),
    }
    assert (extra["by"], extra["direction"], extra["doubts"]) == ("viv", "lower", [])
    assert extra["candidates"]["d"]["note"] == "it has no viv"
    by_psnr = standings({name: GROUPS[name] for name in "ac"}, column="psnr")
    assert [one["place"] for one in by_psnr["candidates"].values()] == [1, 2]
    assert standings(GROUPS, column="bare", better="higher")["candidates"]["c"]["place"] == 1


def test_what_may_not_be_compared_is_doubted() -> None:
    (doubt,) = standings({**GROUPS, "e": group("e", 1.0, channels=8)}, column="viv")["doubts"]
    assert doubt.startswith("it may not order them well, since it depends on the shape of the latents")


def test_unknown_columns_and_unknown_directions_are_one_line() -> None:
    with pytest.raises(UserError, match=r"^gate.by: unknown column with numbers 'vivv'; did you mean 'viv'\?$"):
        standings(GROUPS, column="vivv")
    with pytest.raises(UserError, match=r'bare says not which way is better: add gate.better = "lower" or "higher"$'):
        standings(GROUPS, column="bare")


def test_a_score_ranks_and_withholds() -> None:
    term = Term(proxy="viv", logarithm=False, mean=0.0, deviation=1.0, coefficient=-1.0, low=1.0, high=4.0)
    skill = Skill(n=9, explained=0.5, spearman=None)
    score = Score(
        intercept=0.0, terms=(term,), outcome="gfd", modalities=(), rows=9, family_count=4, families=skill, tables={}
    )
    extra = standings({**GROUPS, "e": group("e", 100.0)}, score=score)["candidates"]
    assert {name: one["place"] for name, one in extra.items()} == {"a": 2, "b": 3, "c": 1, "d": None, "e": None}
    assert extra["d"]["note"] == "viv is missing"
    assert "far from what was fitted" in extra["e"]["note"]
    assert "lies outside 1 to 4" in extra["c"]["note"]
    with pytest.raises(UserError, match=r"^gate.score: no tokenizer has a score: viv is missing$"):
        standings({"d": GROUPS["d"]}, score=score)


def test_a_score_is_doubted_as_in_tables() -> None:
    term = Term(
        proxy="viv", logarithm=False, mean=0.0, deviation=1.0, coefficient=1.0, low=0.0, high=9.0, protocol="of others"
    )
    skill = Skill(n=9, explained=0.5, spearman=None)
    known: dict[str, Any] = {"outcome": "gfd", "modalities": (), "rows": 9, "family_count": 4, "tables": {}}
    score = Score(intercept=0.0, terms=(term,), families=skill, fitted_jobs=frozenset({"tokenizer/b"}), **known)
    groups = {name: replace(one, rows=tuple(with_job(row, name) for row in one.rows)) for name, one in GROUPS.items()}
    notes = {name: one["note"] for name, one in standings(groups, score=score)["candidates"].items()}
    assert notes["a"] == "viv was fitted by another protocol"
    assert notes["b"] == "viv was fitted by another protocol; the score was fitted on it"
    (plain,) = standings({"c": groups["c"]}, score=replace(score, terms=(replace(term, protocol=""),)))[
        "candidates"
    ].values()
    assert plain["note"] == "its table does not say by which protocol viv was measured"


def with_job(row: Row, name: str) -> Row:
    return replace(row, jobs={"tokenizer": f"tokenizer/{name}"})
