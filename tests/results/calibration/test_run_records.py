"""Observations from records: families, seeds, outcomes, and which numbers are proxies."""

import json
import math
from pathlib import Path

import pytest

from latentbench.results.calibration.observations import FAMILY_MEAN
from latentbench.results.calibration.run_records import MEAN_RANK, read_runs
from latentbench.results.errors import UserError
from latentbench.results.record import Record
from latentbench.results.store import Store


def test_the_leading_gfd_and_the_mean_rank(runs: Path) -> None:
    leading, ranked = read_runs([runs])
    assert (leading.outcome, leading.direction) == ("log gfd_scattering", "lower")
    assert leading.title == "demo · shapes (image)"
    first = leading.items[0]
    assert (first.name, first.family) == ("kl-vae (channels=2)", "kl-vae")
    assert first.outcome == pytest.approx((0, math.log(1.02)))
    assert first.values["viv"] == pytest.approx(0.05)
    assert leading.families == 3
    # the two nets order the cells in opposite ways, so all mean ranks are that of the middle
    assert ranked.outcome == MEAN_RANK
    assert {value for item in ranked.items for value in item.outcome} == {5}


def test_proxies_and_baselines(runs: Path) -> None:
    table = read_runs([runs])[0]
    assert {p.name for p in table.predictors if not p.baseline} == {"viv", "local_correlation"}
    dull = {p.name for p in table.predictors if p.baseline}
    assert {"psnr", "tsr", "elements", "parameters", FAMILY_MEAN} <= dull
    assert not any(name.startswith("gfd") for name in dull)
    (viv,) = (p for p in table.predictors if p.name == "viv")
    assert viv.direction == "lower"
    assert viv.seconds == 1.0
    assert "psnr" in table.fixed


def test_an_outcome_by_name_is_taken_as_it_is(runs: Path) -> None:
    (table,) = read_runs([runs], outcome="gfd_encoder", family="channels", where=["recipe!=pca"])
    assert table.outcome == "gfd_encoder"
    assert table.items[0].outcome == pytest.approx((9, 10 - 1.02))
    assert {item.family for item in table.items} == {"2", "4", "8"}
    assert len(table.items) == 6


def test_what_is_missing_since_its_training_was_stopped_is_told(runs: Path) -> None:
    store = Store(runs)
    (suite,) = store.read_suites()
    standings = {"a": {"value": 1.0, "place": 2, "note": "", "stopped": ""}}
    facts = {"by": "psnr", "direction": "higher", "candidates": standings, "absent": [], "doubts": []}
    extra = facts | {"rung": {"number": 1, "share": "1/3"}}
    store.save(Record(kind="halving", key="h", status="finished", extra=extra))
    rungs = {"rungs": [{"job": "halving/h", "candidate": "a", "limit": 1}], "trained": []}
    cells = []
    for cell in suite["cells"]:
        if cell["recipe"] == "pca":
            for job in cell["jobs"].values():
                (store.job_folder(*job.split("/")) / "record.json").unlink()
            cell = {**cell, "shared": ["halving/h"], "halving": {**rungs, "holds": [*cell["jobs"]]}}
        cells.append(cell)
    assert not any("stopped" in note for note in read_runs([runs])[0].notes)
    store.write_suite("demo", cells)
    table = read_runs([runs])[0]
    assert len(table.items) == 6
    assert (
        "The trainings of 3 of them were stopped early: correlations with what goes with the score of their rungs are "
        "too low here, as the worst by it are missing." in table.notes
    )


def test_a_table_that_is_too_small_is_told(runs: Path) -> None:
    cells = json.loads((runs / "suites/demo.json").read_text())["cells"]
    small = [
        {**cell, "cell": f"faces {i}", "dataset": "faces"}
        for i, cell in enumerate(cells)
        if cell["axes"]["channels"] == 2 and cell["recipe"] != "pca"
    ]
    bare = {**cells[0], "cell": "bare", "dataset": "bare", "jobs": {"tokenizer": cells[0]["jobs"]["tokenizer"]}}
    Store(runs).write_suite("demo", [*cells, *small, bare])
    leading, ranked = read_runs([runs])
    assert leading.title == ranked.title == "demo · shapes (image)"
    said = [note for note in leading.notes if note.startswith("No table of")]
    assert said == [
        "No table of demo · faces (image) by gfd_scattering: 2 cells have it, and a calibration needs three.",
        "No table of demo · faces (image) by mean_rank: 2 cells have it, and a calibration needs three.",
        "No table of demo · bare (image): no cell has a gFD.",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outcome": "gfd_scatering"}, "--outcome: unknown column 'gfd_scatering'.*gfd_scattering"),
        ({"family": "lable"}, "--family: unknown column 'lable'.*label"),
        ({"where": ["channels=2", "recipe!=pca"]}, "needs three cells with a gFD"),
    ],
)
def test_what_is_refused(runs: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_runs([runs], **options)  # type: ignore[arg-type]
