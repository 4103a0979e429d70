"""Tokenizers whose priors are sampled in several ways: a table for each, and nothing counted twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench import cli
from latentbench.results.calibration.run_records import read_runs
from latentbench.results.record import Record
from latentbench.results.store import Store


def guided(runs: Path) -> Path:
    """The same run with each cell twice: codes by `ar`, values by `flow`, at two scales of guidance that turn the order
    around."""
    store = Store(runs)
    (suite,) = store.read_suites()
    cells: list[Any] = []
    for cell in suite["cells"]:
        prior = "ar" if cell["recipe"] == "vq-vae" else "flow"
        for scale in (1.0, 2.0):
            key = f"{cell['cell']}-{scale}"
            own = store.outcome(*cell["jobs"]["generation"].split("/"))
            metrics = [
                replace(metric, value=metric.value if scale == 1 else 20 - metric.value) for metric in own.metrics
            ]
            extra = {"sampler": f"{prior} v1, 10 classes, guidance {scale:g}"}
            store.save(Record(kind="generation", key=key, status="finished", metrics=tuple(metrics), extra=extra))
            axes = {**cell["axes"], f"prior.{prior}.guidance": scale}
            jobs = {**cell["jobs"], "generation": f"generation/{key}"}
            cells.append({**cell, "cell": key, "axes": axes, "prior": prior, "jobs": jobs})
    store.write_suite("demo", cells)
    return runs


def test_each_way_has_a_table(runs: Path) -> None:
    plain = read_runs([runs])
    tables = read_runs([guided(runs)])
    assert [(table.title, table.way) for table in tables] == [
        ("demo · shapes (image), guidance=1.0", "guidance=1.0"),
        ("demo · shapes (image), guidance=1.0", "guidance=1.0"),
        ("demo · shapes (image), guidance=2.0", "guidance=2.0"),
        ("demo · shapes (image), guidance=2.0", "guidance=2.0"),
    ]
    assert [len(table.items) for table in tables] == [9] * 4
    assert [item.outcome for item in tables[0].items] == [item.outcome for item in plain[0].items]
    assert [item.outcome for item in tables[2].items] != [item.outcome for item in plain[0].items]
    (one,) = {table.way for table in read_runs([runs], where=["sampler~guidance 2"])}
    assert one == ""
    assert len(read_runs([runs], where=["sampler~guidance 2"])[0].items) == 9


def test_a_table_and_a_score_are_of_one_way(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = str(guided(runs)), tmp_path / "t.csv"
    assert cli.main(["calibrate", folder, "--table", str(out)]) == 2
    told = capsys.readouterr().err
    assert "--table holds one outcome of a tokenizer, and priors differ here: guidance=1.0, guidance=2.0;" in told
    assert told.count("\n") == 1
    assert not out.exists()
    score = tmp_path / "score.json"
    assert cli.main(["calibrate", folder, "--fit-score", str(score)]) == 2
    assert "--fit-score: a score has one outcome of a tokenizer, and priors differ here" in capsys.readouterr().err
    assert not score.exists()
    assert cli.main(["calibrate", folder, "--where", "sampler~guidance 2", "--table", str(out)]) == 0
    assert len(out.read_text().splitlines()) > 18


def entered_again(runs: Path, prior: str = "") -> list[tuple[str, int]]:
    """The tables and their sizes where entries of another label have the run's tokenizers again, by their own `prior`
    where one is named."""
    store = Store(runs)
    (suite,) = store.read_suites()
    again: list[Any] = []
    for cell in suite["cells"]:
        other = {**cell, "label": f"again {prior}", "cell": f"again-{prior}-{cell['cell']}"}
        if prior:
            key = f"{prior}-{cell['cell']}"
            own = store.outcome(*cell["jobs"]["generation"].split("/"))
            store.save(Record(kind="generation", key=key, status="finished", metrics=own.metrics))
            other |= {"prior": prior, "jobs": {**cell["jobs"], "generation": f"generation/{key}"}}
        again.append(other)
    store.write_suite("demo", [*suite["cells"], *again])
    return list(dict.fromkeys((table.way, len(table.items)) for table in read_runs([runs])))


def test_one_tokenizer_under_two_names_is_one(runs: Path, tmp_path: Path) -> None:
    assert entered_again(runs) == [("", 9)]
    assert "9 cells are a tokenizer and prior that stand here under another name" in read_runs([runs])[0].notes[-1]
    assert cli.main(["calibrate", str(runs), "--table", str(tmp_path / "t.csv")]) == 0
    assert "again" not in (tmp_path / "t.csv").read_text()


def test_an_entry_s_own_prior_is_a_way_of_its_own(runs: Path) -> None:
    assert entered_again(runs, "mar") == [("", 9), ("prior=mar", 9)]
    assert len(read_runs([runs], where=["prior=mar"])[0].items) == 9


def test_the_usual_prior_is_the_one_that_most_tokenizers_have(runs: Path) -> None:
    store = Store(runs)
    (suite,) = store.read_suites()
    cells: list[Any] = [{**cell, "prior": "flow"} for cell in suite["cells"]]
    first = cells[0]
    same = [cell for cell in cells if (cell["label"], cell["axes"]) == (first["label"], first["axes"])]
    for cell in same:
        cell["prior"] = "mar"  # this one's first prior is the rare one
    store.write_suite("demo", cells)
    assert entered_again(runs, "flow") == [("", 9), ("prior=flow (2)", 8)]
    (usual, *_) = read_runs([runs])
    assert [item.name.startswith("again flow") for item in usual.items] == [True, *[False] * 8]
