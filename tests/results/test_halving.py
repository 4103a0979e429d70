"""What tables say of cells whose trainings were stopped early, and that they are compared with none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from latentbench.results.gates import Gate, is_partial, passes, places, reason
from latentbench.results.groups import aggregate
from latentbench.results.halving import why_stopped
from latentbench.results.leaderboard import leaderboard
from latentbench.results.metric import Metric
from latentbench.results.record import Failure, Record
from latentbench.results.report.progress import progress
from latentbench.results.rows import COST, Row, rows
from latentbench.results.store import Store

FIRST = "stopped at rung 1: not among the 2 of 3 with the highest psnr after 1/9 of the training"
SECOND = "stopped at rung 2: not the highest psnr of 2 after 1/3 of the training"


def decision(number: int, values: dict[str, float | None], stopped: dict[str, str], **extra: Any) -> Record:
    ranks = places(values, higher=True)
    candidates = {
        name: {"value": values.get(name), "place": ranks.get(name), "note": "", "stopped": stopped.get(name, "")}
        for name in (*values, *stopped)
    }
    facts: dict[str, Any] = {"by": "psnr", "direction": "higher", "candidates": candidates, "absent": [], "doubts": []}
    facts["rung"] = {"number": number, "share": "1/9" if number == 1 else "1/3"}
    return Record(kind="halving", key=f"h{number}", status="finished", extra=facts | extra)


def decisions() -> list[Record]:
    """Of a, b and c the last is stopped at the first rung, and b at the second."""
    return [decision(1, {"a": 3.0, "b": 2.0, "c": 1.0}, {}), decision(2, {"a": 3.0, "b": 2.0}, {"c": FIRST})]


def gates(candidate: str) -> list[Gate]:
    return [Gate(job=f"halving/h{n}", candidate=candidate, limit=limit) for n, limit in ((1, 2), (2, 1))]


def test_the_reason_is_that_of_the_rung_where_it_was_stopped() -> None:
    records = decisions()
    through = {name: [*map(passes, records, gates(name))] for name in "abc"}
    assert through == {"a": [True, True], "b": [True, False], "c": [False, False]}
    assert reason(records[1], gates("b")[1]) == SECOND
    assert reason(records[0], gates("c")[0]) == reason(records[1], gates("c")[1]) == FIRST


def test_a_decision_without_all_that_had_come_so_far_is_partial() -> None:
    assert not is_partial(decisions()[1])
    assert is_partial(decision(2, {"a": 3.0}, {}, absent=["rung/x"]))


def write(folder: Path, records: list[Record], *, whole: str) -> Store:
    """Three cells in rungs, of which those in `whole` are trained to their ends."""
    store = Store(folder)
    cells = []
    for record in (*records, Record(kind="data", key="d", status="finished", run={"seconds": 5.0})):
        store.save(record)
    for name in "abc":
        jobs = {"data": "data/d", "tokenizer": f"tokenizer/{name}", "reconstruction": f"reconstruction/{name}"}
        rungs = [{"job": gate.job, "candidate": gate.candidate, "limit": gate.limit} for gate in gates(name)]
        own = [f"rung/{name}1", f"rung/{name}2"]
        halving = {"rungs": rungs, "trained": own, "holds": ["tokenizer", "reconstruction"]}
        facts = {"dataset": "photos", "modality": "image", "recipe": name, "label": "", "axes": {}, "seed": 0}
        shared = [*own, *(gate.job for gate in gates(name))]
        cells.append({"cell": name, **facts, "jobs": jobs, "shared": shared, "halving": halving})
        for job in own if name in whole else own[:1]:
            early = Metric(name="psnr", value=9.0, n=9, direction="higher", role="distortion")
            store.save(Record(kind="rung", key=job.removeprefix("rung/"), status="finished", metrics=(early,)))
        if name in whole:
            psnr = Metric(name="psnr", value=20.0, se=0.1, n=9, direction="higher", role="distortion")
            store.save(Record(kind="tokenizer", key=name, status="finished", depends=("data/d",)))
            store.save(Record(kind="reconstruction", key=name, status="finished", metrics=(psnr,)))
    store.write_suite("demo", cells, kinds=["rung", "halving", "tokenizer", "reconstruction"])
    return store


def statuses(table: list[Row]) -> list[Any]:
    return [row["status"] for row in table]


def test_a_stopped_cell_has_a_status_and_no_numbers(tmp_path: Path) -> None:
    write(tmp_path, decisions(), whole="a")
    table = rows([tmp_path])
    assert statuses(table) == ["finished", SECOND, FIRST]
    assert [row.get("psnr") for row in table] == [20.0, None, None], "a rung's score is none of the cell's"
    assert {row.get(name) for row in table[1:] for name in COST} == {None}
    assert [(group.stopped, group.settled) for group in aggregate(table)] == [(0, 1), (1, 1), (1, 1)]
    told = progress([tmp_path], table)
    assert (told["cells"], told["finished"], told["failed"]) == (3, 3, 0)


def test_tables_mark_them_and_rank_them_with_nobody(tmp_path: Path) -> None:
    write(tmp_path, decisions(), whole="a")
    text = leaderboard([tmp_path], sort="psnr")
    lines = [line for line in text.splitlines() if line.startswith("|   ")]
    assert [line.count("–‡") for line in lines] == [0, 0, 1, 1], "a head, and three lines"
    assert f"- ‡ #2 {SECOND}.\n" in text
    assert f"- ‡ #3 {FIRST}.\n" in text
    assert "- Rank by psnr is among whole trainings: 2 lines were stopped, and might stand anywhere.\n" in text
    assert "Not finished" not in text
    assert f"‡ #3 {FIRST}." in leaderboard([tmp_path], notes="short")


def test_who_is_trained_to_the_end_all_the_same_is_finished(tmp_path: Path) -> None:
    write(tmp_path, decisions(), whole="ac")
    assert statuses(rows([tmp_path])) == ["finished", SECOND, "finished"]


def test_a_rung_that_has_failed_is_a_failure(tmp_path: Path) -> None:
    store = write(tmp_path, decisions(), whole="a")
    (tmp_path / "jobs" / "rung" / "c1" / "record.json").unlink()
    store.save(Record(kind="rung", key="c1", status="failed", error=Failure(type="DivergedError", message="nan")))
    (row,) = [row for row in rows([tmp_path]) if row["cell"] == "c"]
    assert row["status"].startswith("failed: rung: DivergedError: nan")
    assert row.failed_job == "rung/c1"


@pytest.mark.parametrize("known", [0, 1])
def test_before_it_is_decided_nothing_is_stopped(known: int) -> None:
    records = {f"{record.kind}/{record.key}": record for record in decisions()[:known]}
    told = {}
    for name in "abc":
        listed = [{"job": gate.job, "candidate": gate.candidate, "limit": gate.limit} for gate in gates(name)]
        told[name] = why_stopped({"rungs": listed, "trained": [], "holds": []}, records)
    assert told == {"a": "", "b": "", "c": FIRST if known else ""}
