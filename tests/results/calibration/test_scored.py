"""A score beside what was measured: its value and interval, what is doubted or withheld, and when nothing is ranked."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench import cli
from latentbench.results.calibration.run_records import observe
from latentbench.results.calibration.score import fit_score
from latentbench.results.calibration.score_file import from_json, to_json
from latentbench.results.calibration.scored import with_score
from latentbench.results.calibration.table_file import read_table
from latentbench.results.calibration.table_writer import write_table
from latentbench.results.errors import UserError
from latentbench.results.groups import aggregate
from latentbench.results.leaderboard import leaderboard
from latentbench.results.record import Record
from latentbench.results.report.model import model
from latentbench.results.rows import rows
from latentbench.results.store import Store
from latentbench.results.tables import tables

NAME = "modelability_score"
VIV: dict[str, Any] = {
    "proxy": "viv",
    "logarithm": False,
    "mean": 1.0,
    "deviation": 0.5,
    "coefficient": 0.25,
    "protocol": "of z",
}


def score_file(
    folder: Path, *terms: dict[str, Any], skill: float = 0.5, jobs: tuple[str, ...] = ("tokenizer/x",)
) -> Path:
    """A score of `viv` fitted on 0 to 2.1, unless told, with a rank correlation of 0.3 to 0.9 on left-out families."""
    path = folder / "score.json"
    tested = {"n": 12, "variance_explained": skill, "spearman": {"value": 0.7, "interval": [0.3, 0.9]}}
    plain = {
        "name": NAME,
        "version": 1,
        "outcome": "log gfd_scattering",
        "intercept": 0.5,
        "terms": list(terms) or [VIV | {"low": 0.0, "high": 3.0}],
        "domain": {"modalities": ["image"], "rows": 12, "families": 4},
        "tested": {"families left out": tested, "tables left out": {}},
        "fitted on": [{"table": "t", "tokenizer": "a", "family": "f", "outcome": [1.0], "jobs": list(jobs)}],
    }
    path.write_text(json.dumps(plain))
    return path


def test_it_is_the_formula_of_each_row(runs: Path) -> None:
    scored = with_score(rows([runs]), score_file(runs.parent))
    for row in scored[:4]:
        assert row[NAME] == pytest.approx(0.5 + 0.25 * (row["viv"] - 1) / 0.5)
    metric = scored[0].metrics[NAME]
    assert (metric.direction, metric.role, metric.scope, metric.interval) == ("lower", "modelability", "table", None)
    assert "0.5 + 0.25 (viv − 1) / 0.5; predicts log gfd_scattering in deviations" in metric.protocol
    assert "12 tokenizers of 4 families of image" in metric.protocol
    assert "on families left out ρ .70 [.30, .90], 50% of the variance explained" in metric.protocol


def test_its_interval_is_at_most_the_sum_of_its_proxies(runs: Path) -> None:
    store = Store(runs)
    record = store.outcome("modelability", "kl-vae-8-0")
    assert record is not None
    plain = record.metrics[0]
    measured = tuple(replace(m, se=0.01, interval=(0.4, 0.7) if m is plain else None) for m in record.metrics)
    store.save(Record(kind="modelability", key="kl-vae-8-0", status="finished", metrics=measured))
    file = score_file(
        runs.parent,
        VIV | {"low": 0.0, "high": 2.1},
        VIV | {"proxy": "local_correlation", "logarithm": True, "coefficient": -0.2, "low": 0.1, "high": 0.9},
    )
    (row,) = (row for row in with_score(rows([runs]), file) if row["cell"] == "kl-vae-8-0")
    half = 0.25 / 0.5 * 0.15 + 0.2 / 0.5 * 1.959963984540054 * 0.01 / 0.5
    assert row.metrics[NAME].interval == pytest.approx((row[NAME] - half, row[NAME] + half))
    others = [other.metrics[NAME].interval for other in with_score(rows([runs]), file) if other["cell"] != "kl-vae-8-0"]
    assert others == [None] * 17


def test_outside_its_domain_it_is_marked_and_then_withheld(runs: Path) -> None:
    file = score_file(runs.parent, VIV | {"low": 0.0, "high": 1.0})
    scored = with_score(rows([runs]), file)
    told = {row["cell"]: (row[NAME], row[f"{NAME}_doubts"]) for row in scored}
    assert told["kl-vae-2-0"] == (0.0, None)
    assert told["vq-vae-8-0"] == (pytest.approx(0.75), "viv lies outside 0 to 1")
    assert told["pca-8-0"] == (None, "viv lies outside 0 to 1, far from what was fitted")
    assert told["pca-2-0"] == told["pca-2-1"] == told["pca-8-0"]  # its other seed is 2.1
    text = leaderboard([runs], score=file, columns=NAME)
    assert "†" in text
    assert "withheld" in text
    assert "modelability_score, † or withheld: " in text
    assert "#4–#6: viv lies outside 0 to 1; #7–#9: viv lies outside 0 to 1, far from what was fitted." in " ".join(
        leaderboard([runs], score=file, columns=NAME, sort=NAME).split()
    )
    flat = leaderboard([runs], score=file, format="csv", columns=f"cell,{NAME},{NAME}_doubts")
    assert "vq-vae-8-0,0.75,viv lies outside 0 to 1" in flat.splitlines()


def test_rows_that_it_was_fitted_on_are_named(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = score_file(runs.parent, jobs=("tokenizer/kl-vae-2-0", "tokenizer/kl-vae-2-1"))
    (table,) = tables(with_score(rows([runs]), file), sort=NAME)
    assert table.ranked_by == NAME
    place = [column.name for column in table.columns].index(NAME)
    assert [line[place].text.endswith("†") for line in table.lines] == [True] + [False] * 8
    assert any("#1: the score was fitted on it" in note for note in table.notes)
    assert any("#1: the score was fitted on it" in note for note in table.brief)
    assert cli.main(["score", str(file), str(runs)]) == 0
    assert "| kl-vae (channels=2) | 0.025 | the score was fitted on it |" in capsys.readouterr().out
    unnamed = score_file(runs.parent, jobs=())
    assert "lines here may be among those fitted" in with_score(rows([runs]), unnamed)[0].metrics[NAME].protocol


def test_the_reports_page_has_it_too(runs: Path) -> None:
    file = score_file(runs.parent, jobs=("tokenizer/kl-vae-2-0", "tokenizer/kl-vae-2-1"))
    known = model(with_score(rows([runs]), file))
    first = next(line for line in known.lines if line.name == "kl-vae channels=2")
    assert first.plain["cells"][NAME][0] == pytest.approx(0.025)
    assert any("the score was fitted on it" in note for note in known.sections[0].plain["notes"])


def test_other_protocols_are_doubted(runs: Path) -> None:
    file = score_file(runs.parent, VIV | {"low": 0.0, "high": 2.6, "protocol": "of other latents"})
    assert {row[f"{NAME}_doubts"] for row in with_score(rows([runs]), file)} == {"viv was fitted by another protocol"}


def test_a_protocol_that_nobody_knows_is_doubted(runs: Path) -> None:
    file = score_file(runs.parent, VIV | {"low": 0.0, "high": 2.6, "protocol": ""})
    doubts = {row[f"{NAME}_doubts"] for row in with_score(rows([runs]), file)}
    assert doubts == {"its table does not say by which protocol viv was measured"}
    several = score_file(runs.parent, VIV | {"low": 0.0, "high": 2.6, "protocol": "of codes\nof z"})
    assert {row[f"{NAME}_doubts"] for row in with_score(rows([runs]), several)} == {None}


def test_signals_of_another_size_are_doubted(runs: Path) -> None:
    file = score_file(runs.parent, VIV | {"low": 0.0, "high": 2.6})
    plain = json.loads(file.read_text())
    for signals, doubt in (([3072], None), ([49152], "signals of 3072 values were not fitted (49152)")):
        plain["domain"] |= {"signals": signals, "samples": [512]}
        file.write_text(json.dumps(plain))
        scored = with_score(rows([runs]), file)
        assert {row[f"{NAME}_doubts"] for row in scored} == {doubt}
        assert f"of image, signals of {signals[0]} values, outcomes on 512 samples;" in scored[0].metrics[NAME].protocol


def test_a_table_carries_protocols_and_signals_into_a_score(runs: Path, tmp_path: Path) -> None:
    """From runs to a table to a score."""
    path = tmp_path / "values.csv"
    write_table(path, [runs])
    text = path.read_text().replace("# family: family", "# family: name")
    path.write_text(text)
    (table,) = [read_table(path, outcome=None)]
    score = fit_score([table], terms=1, least=1, draws=20)
    assert [(term.proxy, term.protocol) for term in score.terms] == [("viv", "of z")]
    assert (score.signals, score.samples) == ((3072,), (64,))
    file = tmp_path / "again.json"
    file.write_text(to_json(score, [table]))
    assert from_json(file).signals == (3072,)
    assert {row[f"{NAME}_doubts"] for row in with_score(rows([runs]), file)} == {None}
    path.write_text("".join(line for line in text.splitlines(keepends=True) if "# protocol" not in line))
    (term,) = fit_score([read_table(path, outcome=None)], terms=1, least=1, draws=20).terms
    assert term.protocol == ""


def test_nothing_is_ranked_by_a_score_without_skill(runs: Path) -> None:
    file = score_file(runs.parent, skill=-0.1)
    scored = with_score(rows([runs]), file)
    assert scored[0].metrics[NAME].direction == "none"
    assert "no skill is shown, so nothing is ranked by it" in scored[0].metrics[NAME].protocol
    (table,) = tables(scored, sort=NAME)
    assert table.ranked_by == "psnr"
    place = [column.name for column in table.columns].index(NAME)
    assert not any(line[place].best for line in table.lines)


def test_it_orders_one_table_alone(runs: Path) -> None:
    store = Store(runs)
    cells = json.loads(next((runs / "suites").glob("*.json")).read_text())["cells"]
    store.write_suite("again", [cell | {"dataset": "photos"} for cell in cells])
    file = score_file(runs.parent)
    with pytest.raises(UserError, match="orders the tokenizers of one table, and here are 2"):
        leaderboard([runs], score=file, format="csv", sort=NAME)
    one = leaderboard([runs], score=file, format="json", sort=NAME, where="dataset=photos")
    values = [row[NAME] for row in json.loads(one) if row[NAME] is not None]
    assert values == sorted(values)
    with pytest.raises(UserError, match="leave out --score"):
        leaderboard([runs], score=file, pivot="channels,tsr")


def test_it_is_no_proxy_of_a_calibration(runs: Path) -> None:
    """A score that was fitted to these rows would seem to predict them."""
    scored = with_score(rows([runs]), score_file(runs.parent))
    assert NAME not in {predictor.name for table in observe(scored) for predictor in table.predictors}


def test_a_fit_remembers_its_tokenizers_and_protocols(runs: Path) -> None:
    observed = observe(rows([runs]))[0]
    assert observed.items[0].jobs == ("tokenizer/kl-vae-2-0", "tokenizer/kl-vae-2-1")
    assert len(aggregate(rows([runs]))) == len(observed.items)


def test_mistakes(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = score_file(runs.parent, VIV | {"proxy": "absent", "low": 0.0, "high": 1.0})
    assert cli.main(["leaderboard", str(runs), "--score", str(file)]) == 2
    assert capsys.readouterr().err.strip().endswith("score.json: no tokenizer has a score: absent is missing")
    assert cli.main(["leaderboard", "--compare", str(runs), str(runs), "--score", str(file)]) == 2
    assert "without --score" in capsys.readouterr().err
    assert math.isfinite(with_score(rows([runs]), score_file(runs.parent))[0][NAME])
