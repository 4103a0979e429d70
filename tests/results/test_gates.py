"""What gates decide, and what tables say of cells that none has let through."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import rankdata

from latentbench.results.errors import UserError
from latentbench.results.gates import Gate, is_partial, passes, places, reason, reason_of_all, union
from latentbench.results.leaderboard import leaderboard
from latentbench.results.metric import Metric
from latentbench.results.record import Record
from latentbench.results.rows import rows
from latentbench.results.store import Store


def decided(values: dict[str, float | None], *, key: str = "g", note: str = "", **extra: Any) -> Record:
    ranks = places(values, higher=False)
    candidates = {name: {"name": name, "value": values[name], "place": ranks[name], "note": note} for name in values}
    facts = {"by": "viv", "direction": "lower", "candidates": candidates, "absent": [], "doubts": []} | extra
    return Record(kind="gate", key=key, status="finished", extra=facts)


def gate(candidate: str, limit: int, key: str = "g") -> Gate:
    return Gate(job=f"gate/{key}", candidate=candidate, limit=limit)


def test_places_are_those_of_another_implementation() -> None:
    draws = random.Random(0)
    for _ in range(20):
        values = {str(i): float(draws.randint(0, 6)) for i in range(8)}
        expected = dict(zip(values, map(int, rankdata([*values.values()], method="min")), strict=True))
        assert places(values, higher=False) == expected
        assert places({name: -value for name, value in values.items()}, higher=True) == expected
    assert places({"a": 2.0, "b": None, "c": 1.0}, higher=False) == {"a": 2, "b": None, "c": 1}


def test_equals_pass_together_and_what_has_no_value_never() -> None:
    record = decided({"a": 1.0, "b": 2.0, "c": 2.0, "d": None})
    assert [passes(record, gate(name, 1)) for name in "abcd"] == [True, False, False, False]
    assert [passes(record, gate(name, 2)) for name in "abcd"] == [True, True, True, False]
    assert [passes(record, gate(name, 4)) for name in "abcd"] == [True, True, True, False]
    assert reason(record, gate("b", 1)) == "not the lowest viv of 4"
    assert reason(decided({"a": 1.0, "b": 2.0}, note="far", doubts=["so so"]), gate("b", 3)) == (
        "not among the 3 of 2 with the lowest viv; far; so so"
    )
    with pytest.raises(UserError, match=r"^gate/g: its record does not rank e: remove the job's folder"):
        passes(record, gate("e", 1))


def test_one_of_several_gates_is_enough() -> None:
    records = {
        f"gate/{key}": decided(values, key=key) for key, values in {"g": {"a": 2.0, "b": 1.0}, "h": {"a": 0.0}}.items()
    }
    assert reason_of_all(records, [gate("a", 1)]) == "not the lowest viv of 2"
    assert reason_of_all(records, [gate("a", 1), gate("a", 1, "h")]) == ""
    assert reason_of_all({}, [gate("a", 1)]) == "", "nothing is decided"
    assert union([(gate("a", 1),), (gate("a", 1, "h"), gate("a", 1))]) == (gate("a", 1), gate("a", 1, "h"))
    assert union([(gate("a", 1),), ()]) == (), "a plan without a gate wants it done"


def test_what_was_decided_without_all_is_partial() -> None:
    assert is_partial(decided({"a": 1.0}, absent=["modelability/x"]))
    assert not is_partial(decided({"a": 1.0}))
    assert not is_partial(Record(kind="data", key="d", status="finished", extra={"absent": ["x"]}))


@pytest.fixture
def gated(tmp_path: Path) -> Path:
    """Three cells, of which a gate has let through one."""
    store = Store(tmp_path)
    store.save(decided({"a": 1.0, "b": 2.0, "c": 3.0}))
    cells = []
    for name, value in (("a", 20.0), ("b", 30.0), ("c", 40.0)):
        psnr = Metric(name="psnr", value=value, se=0.1, n=9, direction="higher", role="distortion")
        store.save(Record(kind="reconstruction", key=name, status="finished", metrics=(psnr,)))
        jobs = {
            "reconstruction": f"reconstruction/{name}",
            "prior": f"prior/{name}",
            "generation": f"generation/{name}",
        }
        holds = {"job": "gate/g", "candidate": name, "limit": 1, "holds": ["prior", "generation"]}
        facts = {"dataset": "photos", "modality": "image", "recipe": name, "label": "", "axes": {}, "seed": 0}
        cells.append({"cell": name, **facts, "jobs": jobs, "shared": ["gate/g"], "gate": holds})
    store.save(Record(kind="prior", key="a", status="finished"))
    gfd = Metric(name="gfd_x", value=7.0, n=9, direction="lower", role="distribution")
    store.save(Record(kind="generation", key="a", status="finished", metrics=(gfd,)))
    store.write_suite("demo", cells, kinds=["reconstruction", "prior", "generation"])
    return tmp_path


def test_a_table_marks_lines_without_a_prior(gated: Path) -> None:
    assert [row["status"] for row in rows([gated])] == ["finished", *["no prior: not the lowest viv of 3"] * 2]
    text = leaderboard([gated])
    lines = {line.split("|")[-2].strip() for line in text.splitlines() if line.startswith("|   ")}
    assert {"–†", "7"} <= lines
    assert "- † No prior: #1–#2, not the lowest viv of 3.\n" in text
    assert "Not finished" not in text
    ranked = leaderboard([gated], sort="gfd_x")
    assert "- Rank by gfd_x is among lines with a prior: 2 lines have none, and might stand anywhere.\n" in ranked
    assert "No prior: #2–#3" in leaderboard([gated], sort="gfd_x", notes="short")


def test_only_a_cell_that_is_else_done_is_without_a_prior(gated: Path) -> None:
    store = Store(gated)
    for path in gated.glob("jobs/reconstruction/b/record.json"):
        path.unlink()
    assert rows([gated])[1]["status"] == "missing"
    assert "Not finished: #" in leaderboard([gated])
    store.save(Record(kind="prior", key="c", status="finished"))
    assert rows([gated])[2]["status"].startswith("no prior"), "its samples were not drawn"
    for path in gated.glob("jobs/gate/g/record.json"):
        path.unlink()
    assert rows([gated])[2]["status"] == "missing", "nothing is decided"
