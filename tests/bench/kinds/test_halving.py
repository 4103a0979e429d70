"""A suite's halving: what it asks for, what is refused, and what its job makes of records."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from latentbench.bench.jobs import Job
from latentbench.bench.kinds.halving import HalvingConfig, HalvingJob
from latentbench.bench.plan import make_plan
from latentbench.bench.suite import load_suite
from latentbench.results.errors import UserError
from latentbench.results.gates import Gate, is_partial, passes, reason
from latentbench.results.metric import Metric
from latentbench.results.record import Failure, Record
from latentbench.results.store import Store


@pytest.mark.parametrize(
    ("options", "candidates", "expected"),
    [
        ({}, 27, [("1/9", 9), ("1/3", 3)]),
        ({}, 12, [("1/9", 4), ("1/3", 1)]),
        ({}, 3, [("1/9", 1)]),
        ({}, 2, [("1/9", 1)]),
        ({}, 1, []),
        ({"min": 0.33}, 9, [("1/3", 3)]),
        ({"min": 0.3333333333}, 9, [("1/3", 3)]),
        ({"eta": 2, "min": 0.125}, 9, [("1/8", 4), ("1/4", 2), ("1/2", 1)]),
        ({"eta": 2, "min": 0.125, "best": 2}, 9, [("1/8", 4), ("1/4", 2)]),
        ({"best": 4}, 9, [("1/9", 4)]),
        ({"best": 9}, 9, []),
    ],
)
def test_rungs(options: dict[str, Any], candidates: int, expected: list[tuple[str, int]]) -> None:
    rungs = HalvingConfig(metric="psnr", **options).rungs(candidates)
    assert rungs == tuple((Fraction(share), limit) for share, limit in expected)


@pytest.mark.parametrize(
    ("halving", "message"),
    [
        ({"eta": 3}, r"^suite: halving: needs `metric`, of reconstructions, such as psnr$"),
        ({"metric": "psnr", "eta": 1}, r"^suite: halving.*: eta is at least 2, got 1"),
        ({"metric": "psnr", "min": 0.0}, r"^suite: halving.*: min is at least 0.001 and below 1, got 0.0"),
        ({"metric": "psnr", "min": 0.5}, r"^suite: halving.*: min is at most 1/eta, which is where the last rung lies"),
        ({"metric": "psnr", "best": 0}, r"^suite: halving.*: best is at least 1, got 0"),
        ({"metric": "psnr", "seeds": 0}, r"^suite: halving.*: seeds is at least 1, got 0"),
        ({"metric": "psnr", "samples": -1}, r"^suite: halving.*: samples is at least 0, got -1"),
        (
            {"metric": "psnr", "group": ["tsrr"]},
            r"^suite: halving.group\[0\]: unknown fact .*; did you mean 'tsr'",
        ),
        (
            {"metric": "psnrr"},
            r"^suite: halving.metric: unknown metric .* 'psnrr'; did you mean 'psnr'",
        ),
        ({"metric": "viv"}, r"^suite: halving.metric: unknown metric of reconstructions 'viv'"),
        (
            {"metric": "si_sdr"},
            r"^suite: halving.metric: si_sdr of shapes: it is defined for waveform signals",
        ),
        ({"metrics": "psnr"}, r"^suite: halving: metrics: unknown key; did you mean 'metric'\?$"),
    ],
)
def test_what_is_refused(mini: dict[str, Any], halving: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_plan(load_suite(mini | {"halving": halving}), {})


def test_it_needs_trainings_and_no_gate_beside_it(mini: dict[str, Any]) -> None:
    halving = {"halving": {"metric": "psnr"}}
    with pytest.raises(UserError, match=r"^suite: halving: not beside gate, which ranks tokenizers"):
        make_plan(load_suite(mini | halving | {"gate": {"by": "viv"}}), {})
    with pytest.raises(UserError, match=r"^suite: halving: has no effect: the suite trains no tokenizer by steps$"):
        make_plan(load_suite(mini | halving | {"tokenizers": [{"recipe": "pca"}, {"recipe": "jpeg"}]}), {})


def rung(name: str, value: float | None) -> Record:
    """A finished rung, or one that has failed."""
    if value is None:
        return Record(kind="rung", key=name, status="failed", error=Failure(type="DivergedError", message="nan"))
    psnr = Metric(name="psnr", value=value, direction="higher", role="distortion")
    return Record(kind="rung", key=name, status="finished", metrics=(psnr,))


def decide(store: Store, number: int, before: Job | None = None, limit: int = 0) -> Job:
    """The decision at a rung of a to d, which have two seeds each; its record is in the store."""
    candidates = {name: [f"rung/{name}{number}{seed}" for seed in (0, 1)] for name in "abcd"}
    config = {"metric": "psnr", "share": f"1/{9 // 3 ** (number - 1)}", "candidates": candidates}
    depends = {} if before is None else {"before": before.id}
    config |= {} if before is None else {"limit": limit}
    job = Job(kind="halving", config=config, versions={}, depends=depends)
    record = None if before is None else store.load(before.kind, before.key)
    result = HalvingJob().run(SimpleNamespace(job=job, store=store, record=lambda role: record))
    store.save(Record(kind=job.kind, key=job.key, status="finished", extra=dict(result.extra)))
    return job


def test_its_record_ranks_those_that_have_come_so_far(tmp_path: Path) -> None:
    store = Store(tmp_path)
    values: dict[str, float | None] = {"a10": 1.0, "a11": 5.0, "b10": 4.0, "b11": 4.0, "c10": 2.0, "c11": 2.5}
    for name, value in (values | {"d10": None, "d11": None}).items():
        store.save(rung(name, value))
    first = decide(store, 1)
    record = store.load(first.kind, first.key)
    assert record is not None
    standings = record.extra["candidates"]
    assert {name: (one["value"], one["place"]) for name, one in standings.items()} == {
        "a": (3.0, 2),
        "b": (4.0, 1),
        "c": (2.25, 3),
        "d": (None, None),
    }
    assert is_partial(record), "d may be trained once more"
    for name, value in (("a20", 9.0), ("a21", 9.5), ("b20", 7.0)):
        store.save(rung(name, value))
    second = decide(store, 2, first, 2)
    record = store.load(second.kind, second.key)
    assert record is not None
    assert record.extra["rung"] == {"number": 2, "share": "1/3"}
    places = {name: one["place"] for name, one in record.extra["candidates"].items()}
    assert places == {"a": 1, "b": 2, "c": None, "d": None}
    assert set(record.extra["absent"]) == {"rung/d10", "rung/d11", "rung/b21"}, "those of c have not been trained"
    told = {name: reason(record, Gate(job=second.id, candidate=name, limit=1)) for name in "bcd"}
    first_rung = "stopped at rung 1: not among the 2 of 4 with the highest psnr after 1/9 of the training"
    assert told == {
        "b": "stopped at rung 2: not the highest psnr of 2 after 1/3 of the training",
        "c": first_rung,
        "d": f"{first_rung}; it has no psnr",
    }
    assert passes(record, Gate(job=second.id, candidate="a", limit=1))


def test_a_group_without_a_number_can_not_be_decided(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^no training has a psnr after 1/9 of its steps$"):
        decide(Store(tmp_path), 1)


def decide_one(store: Store, name: str, number: int, *, earlier: Job | None = None, before: Job | None = None) -> Job:
    """The asynchronous decision on one of a to d at a rung; its record is in the store."""
    config: dict[str, Any] = {"metric": "psnr", "share": f"1/{9 // 3 ** (number - 1)}"}
    config |= {"candidates": {name: [f"rung/{name}{number}"]}, "asynchronous": {"eta": 2, "best": 1}}
    config |= {} if before is None else {"limit": 9}
    others = {"earlier": earlier, "before": before}
    depends = {role: job.id for role, job in others.items() if job is not None}
    job = Job(kind="halving", config=config, versions={}, depends=depends)

    def record(role: str) -> Record | None:
        return store.load(*depends[role].split("/"))

    result = HalvingJob().run(SimpleNamespace(job=job, store=store, record=record))
    store.save(Record(kind=job.kind, key=job.key, status="finished", extra=dict(result.extra)))
    return job


def test_one_by_one_each_is_compared_with_those_before_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = {"a": 3.0, "b": None, "c": 1.0, "d": 2.0, "e": 5.0}
    for name, value in first.items():
        store.save(rung(f"{name}1", value))
    for name, value in {"a": 7.0, "d": 8.0, "e": 6.0}.items():
        store.save(rung(f"{name}2", value))
    low: dict[str, Job] = {}
    high: dict[str, Job] = {}
    told = {}
    for name in first:
        low[name] = decide_one(store, name, 1, earlier=next(reversed(low.values()), None))
        high[name] = decide_one(store, name, 2, earlier=next(reversed(high.values()), None), before=low[name])
        record = store.load("halving", high[name].key)
        assert record is not None
        gate = Gate(job=high[name].id, candidate=name, limit=9)
        told[name] = "" if passes(record, gate) else reason(record, gate)
    assert told == {
        "a": "",
        "b": "stopped at rung 1: not the highest psnr of 1 so far after 1/9 of the training; it has no psnr",
        "c": "stopped at rung 1: not the highest psnr of 2 so far after 1/9 of the training",
        "d": "stopped at rung 1: not the highest psnr of 3 so far after 1/9 of the training",
        "e": "stopped at rung 2: not the highest psnr of 2 so far after 1/3 of the training",
    }
    last = store.load("halving", low["e"].key)
    assert last is not None
    assert (last.extra["values"], last.extra["reached"], last.extra["limit"]) == (
        {name: value for name, value in first.items() if value is not None},
        4,
        2,
    )
    assert is_partial(last), "b may be trained once more, and then all are decided again"
    assert not passes(last, Gate(job=low["e"].id, candidate="e", limit=0)), "never more than the plan says"
