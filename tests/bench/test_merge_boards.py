"""Boards made one: it is the board of all the runs, what differs is named, and nothing is half written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench import cli
from latentbench.bench.merge import ConflictError
from latentbench.bench.merge_boards import merge_boards
from latentbench.results import publish as publishing
from latentbench.results.board import Board, read_board
from latentbench.results.errors import UserError
from latentbench.results.leaderboard import leaderboard
from latentbench.results.metric import Metric
from latentbench.results.publish import publish
from latentbench.results.record import Record
from latentbench.results.store import Store

RUN = {"seconds": 2.5, "started": "2026-01-02T03:00:00+00:00", "finished": "2026-01-02T04:00:00+00:00"}


def write(
    out: Path, cells: dict[str, float | None], *, suite: str = "s", job: str = "", protocol: str = "p", **run: Any
) -> Path:
    """A run's folder with a cell of each name, of that PSNR (None: not done yet), with values by sample."""
    store, written = Store(out), []
    for name, value in cells.items():
        key = job or name
        if value is not None:
            path = store.job_folder("reconstruction", key) / "values.safetensors"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"{key} {value}".encode())
            metric = Metric(name="psnr", value=value, direction="higher", role="distortion", protocol=protocol)
            artifacts = {path.name: path.stat().st_size}
            facts: dict[str, Any] = {"metrics": (metric,), "artifacts": artifacts, "run": RUN | run}
            store.save(Record(kind="reconstruction", key=key, status="finished", **facts))
        identity = {"cell": name, "dataset": "d", "modality": "image", "recipe": name, "label": name, "axes": {}}
        written.append({**identity, "seed": 0, "jobs": {"reconstruction": f"reconstruction/{key}"}})
    store.write_suite(suite, written, kinds=["reconstruction"])
    return out


def site(tmp_path: Path, name: str, *dirs: Path) -> Path:
    publish(dirs, out=tmp_path / name)
    return tmp_path / name


def board(folder: Path) -> Board:
    return read_board(folder / "board.json")


def test_it_is_the_board_of_all_the_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = write(tmp_path / "one", {"x": 20.0, "y": 21.0}), write(tmp_path / "two", {"z": 22.0}, job="z")
    three = write(tmp_path / "three", {"x": 30.0}, suite="t", job="w")
    first, second = site(tmp_path, "a", one, two), site(tmp_path, "b", three, one)
    whole, out = site(tmp_path, "whole", one, two, three), tmp_path / "new" / "c"
    assert cli.main(["merge", str(first / "board.json"), str(second), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"4 rows of 3 runs in {out}; 2 repeated ones left out\n"
    assert board(out)["rows"] == board(whole)["rows"]
    assert board(out)["runs"] == board(whole)["runs"]
    files = [sorted(str(path.relative_to(place)) for path in place.rglob("*")) for place in (out, whole)]
    assert files[0] == files[1]
    assert len(files[0]) == 3 + 4  # the page, the board, the folder of values; the values
    assert [row["psnr"] for row in json.loads(leaderboard([out], format="json"))] == [20.0, 21.0, 22.0, 30.0]
    pages = [(place / "index.html").read_text().replace(board(place)["made"], "") for place in (out, whole)]
    assert pages[0] == pages[1]
    assert list(out.parent.iterdir()) == [out]


def test_a_run_that_went_on_is_one_run(tmp_path: Path) -> None:
    late = {"started": "2026-01-03T03:00:00+00:00", "finished": "2026-01-03T04:00:00+00:00", "device": "cpu"}
    run = write(tmp_path / "run", {"x": 20.0, "y": None})
    early = site(tmp_path, "early", run)
    write(run, {"y": 21.0}, suite="other", **late)
    write(run, {"x": 20.0, "y": None})
    merged = merge_boards([early, site(tmp_path, "later", run)], tmp_path / "c")
    (entry,) = board(tmp_path / "c")["runs"]
    assert merged.runs == 1
    assert (entry["name"], entry["began"], entry["ended"]) == ("run", RUN["started"], late["finished"])
    assert (entry["cells"], entry["finished"], entry["devices"]) == (3, 3, ["cpu"])
    assert entry["suites"] == ["s", "other"]
    assert {row["columns"]["status"] for row in board(tmp_path / "c")["rows"]} == {"finished"}


def test_the_same_jobs_done_elsewhere_are_another_run(tmp_path: Path) -> None:
    """Its rows are taken once, the first board's; what it alone has is told as its own."""
    first = site(tmp_path, "a", write(tmp_path / "1" / "run", {"x": 20.0}))
    second = site(tmp_path, "b", write(tmp_path / "2" / "run", {"x": 20.0, "y": 21.0}, seconds=9.0))
    merge_boards([first, second], tmp_path / "c")
    told = [(row["columns"]["source"], row["columns"]["seconds"]) for row in board(tmp_path / "c")["rows"]]
    assert told == [("run", 2.5), ("run #2", 9.0)]
    assert [run["name"] for run in board(tmp_path / "c")["runs"]] == ["run", "run #2"]
    merge_boards([first], tmp_path / "d")
    assert board(tmp_path / "d")["rows"] == board(first)["rows"]


def test_parts_of_a_run_are_one_run_where_a_board_has_both(tmp_path: Path) -> None:
    run = write(tmp_path / "run", {"x": 20.0, "y": 21.0})
    boards = [site(tmp_path, "whole", run)]
    for cell in "xy":
        publish([run], out=tmp_path / cell, where=f"cell={cell}")
        boards.insert(0, tmp_path / cell)
    assert merge_boards(boards[:2], tmp_path / "c").runs == 2
    merge_boards(boards, tmp_path / "d")
    (entry,) = board(tmp_path / "d")["runs"]
    assert (entry["name"], entry["cells"]) == ("run", 2)
    assert {row["columns"]["source"] for row in board(tmp_path / "d")["rows"]} == {"run"}


def test_what_is_not_done_yet_says_nothing_of_what_it_lacks(tmp_path: Path) -> None:
    """But what it has must be the same, though the row is not finished."""
    first = write(tmp_path / "1", {"x": 20.0})
    others = [write(tmp_path / name, {"x": value}) for name, value in (("2", None), ("3", 21.0))]
    for place in (first, *others):  # all but the first have a job to do
        suite = Store(place).read_suites()[0]
        suite["cells"][0]["jobs"]["generation"] = "generation/x"
        Store(place).write_suite("s", suite["cells"], kinds=["reconstruction", "generation"])
    fid = Metric(name="fid", value=1.0)
    Store(first).save(Record(kind="generation", key="x", status="finished", metrics=(fid,), run=RUN))
    done, missing, other = (site(tmp_path, f"site{i}", place) for i, place in enumerate((first, *others)))
    merge_boards([missing, done], tmp_path / "c")
    assert [row["columns"]["status"] for row in board(tmp_path / "c")["rows"]] == ["finished"]
    with pytest.raises(ConflictError) as refused:
        merge_boards([other, done], tmp_path / "d")
    assert "another psnr (21.0, 20.0) in" in refused.value.conflicts[0]


def scored(folder: Path, intercept: float) -> Path:
    term = {"proxy": "psnr", "logarithm": False, "mean": 0.0, "deviation": 1.0, "coefficient": 1.0}
    skill = {"n": 12, "variance_explained": 0.5, "spearman": {"value": 0.7, "interval": [0.3, 0.9]}}
    score = {
        "name": "modelability_score",
        "version": 1,
        "outcome": "log gfd",
        "intercept": intercept,
        "terms": [term | {"low": 0.0, "high": 25.0}],
        "domain": {"modalities": ["image"], "rows": 12, "families": 4},
        "tested": {"families left out": skill, "tables left out": {}},
        "fitted on": [],
    }
    (folder / "score.json").write_text(json.dumps(score))
    return folder


def test_a_score_goes_along_and_two_are_a_conflict(tmp_path: Path) -> None:
    """A board that was published before the run had one has nothing to say against it."""
    run = write(tmp_path / "run", {"x": 30.0, "y": 20.0})
    plain = site(tmp_path, "plain", run)
    boards = [plain, site(tmp_path, "one", scored(run, 1.0))]
    for name, sources in (("c", boards), ("d", boards[::-1])):
        assert merge_boards(sources, tmp_path / name).runs == 1
        rows = board(tmp_path / name)["rows"]
        assert [row["metrics"]["modelability_score"]["value"] for row in rows] == [31.0, 21.0]
        doubts = [row["columns"]["modelability_score_doubts"] for row in rows]
        assert "outside" in str(doubts[0])
        assert "outside" not in str(doubts[1])
    with pytest.raises(ConflictError) as refused:
        merge_boards([boards[1], site(tmp_path, "two", scored(run, 2.0))], tmp_path / "e")
    assert "x of the suite 's' has another modelability_score (31.0, 32.0) in" in refused.value.conflicts[0]


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"cells": {"x": 20.5}}, "x of the suite 's' has another psnr (20.0, 20.5) in "),
        ({"cells": {"x": 20.0}, "protocol": "q"}, "has another protocol of psnr ('p', 'q') in "),
    ],
)
def test_other_numbers_in_one_row_are_named_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], other: dict[str, Any], says: str
) -> None:
    first = site(tmp_path, "a", write(tmp_path / "1", {"x": 20.0, "y": 1.0}))
    second = site(tmp_path, "b", write(tmp_path / "2", **other))
    out = tmp_path / "out"
    out.mkdir()
    before = sorted(tmp_path.iterdir())
    assert cli.main(["merge", str(first), str(second), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert f"{says}{first}/board.json and in {second}/board.json\n" in said
    assert "cannot merge: 1 conflict; nothing was written" in said
    assert sorted(tmp_path.iterdir()) == before
    assert not list(out.iterdir())


def test_a_metric_that_one_of_two_finished_rows_lacks_is_a_conflict(tmp_path: Path) -> None:
    first = site(tmp_path, "a", write(tmp_path / "1", {"x": 20.0}))
    other = write(tmp_path / "2", {"x": 20.0})
    Store(other).save(Record(kind="reconstruction", key="x", status="finished"))
    with pytest.raises(ConflictError) as refused:
        merge_boards([first, site(tmp_path, "b", other)], tmp_path / "c")
    assert "another psnr (20.0, None) in" in refused.value.conflicts[0]


def test_what_stands_in_no_one_table_has_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As `publish` has it: other jobs of one cell, and two protocols."""
    first = site(tmp_path, "a", write(tmp_path / "old", {"x": 20.0}), write(tmp_path / "t1", {"v": 1.0}, suite="t"))
    other = write(tmp_path / "t2", {"w": 2.0}, suite="t", protocol="q")
    second = site(tmp_path, "b", write(tmp_path / "new", {"x": 21.0}, job="x2"), other)
    out = tmp_path / "c"
    assert cli.main(["merge", str(first), str(second), "--out", str(out)]) == 0
    said = capsys.readouterr().err
    assert "tables of their own: s, d: run old, run new: the same cells with other jobs\n" in said
    assert "tables of their own: t, d: several protocols: psnr: p | psnr: q\n" in said
    page = (out / "index.html").read_text()
    assert all(title in page for title in ("run old", "run new", "psnr: p", "psnr: q"))
    with pytest.raises(UserError, match="psnr has two protocols"):
        leaderboard([out], where="suite=t")


def test_values_by_sample_are_those_that_were_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A link to what is none of the board's, or another content, goes nowhere; another board's copy stands in."""
    run = write(tmp_path / "run", {"x": 20.0, "y": 21.0})
    first, second = site(tmp_path, "a", run), site(tmp_path, "b", run)
    (tmp_path / "secret").write_text("not to be published")
    x, y = (first / board(first)["rows"][i]["files"]["psnr"] for i in (0, 1))
    x.unlink()
    x.symlink_to(tmp_path / "secret")
    y.unlink()
    outs = [tmp_path / name for name in "cd"]
    assert cli.main(["merge", str(first), "--out", str(outs[0])]) == 1
    assert f"left out, damaged: {x}: its content is not" in capsys.readouterr().err
    assert not (outs[0] / "values").exists()
    assert cli.main(["merge", str(first), str(second), "--out", str(outs[1])]) == 1
    assert board(outs[1])["rows"] == board(second)["rows"]
    assert {path.stem for path in (outs[1] / "values").iterdir()} == {x.stem, y.stem}
    for out in outs:
        assert all(hashlib.sha256(file.read_bytes()).hexdigest() == file.stem for file in out.glob("values/*"))
    publish([first], out=tmp_path / "again")
    assert not (tmp_path / "again" / "values").exists()


def test_hostile_names_stay_inert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = '"><img src=x>\x1b[2J\u202e'
    boards = [site(tmp_path, name, write(tmp_path / name / bad, {bad: i}, suite=bad)) for i, name in enumerate("ab")]
    assert cli.main(["merge", *map(str, boards), "--out", str(tmp_path / "c")]) == 2
    said = capsys.readouterr().err
    assert said.replace("\n", "").isprintable()
    assert len(said.splitlines()) == 2
    merge_boards(boards[:1], tmp_path / "c")
    page = (tmp_path / "c" / "index.html").read_text()
    assert "<img" not in page
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert board(tmp_path / "c")["rows"][0]["columns"]["cell"] == bad


def test_a_damaged_board_or_a_taken_place_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = site(tmp_path, "a", write(tmp_path / "run", {"x": 20.0}))
    (tmp_path / "b.json").write_bytes((first / "board.json").read_bytes()[:-9])
    before = sorted(tmp_path.rglob("*"))
    for sources, out, says in (
        ([first, tmp_path / "b.json"], "c", "b.json: not a board: "),
        ([first], "a", "is there and is no empty folder; choose a new one"),
        ([first], "b.json", "is there and is no empty folder; choose a new one"),
    ):
        assert cli.main(["merge", *map(str, sources), "--out", str(tmp_path / out)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert says in line
    with pytest.raises(UserError, match="no board; expected what `latentbench publish` writes"):
        merge_boards([tmp_path / "run"], tmp_path / "c")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_page_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = site(tmp_path, "a", write(tmp_path / "run", {"x": 20.0}))
    before = sorted(tmp_path.iterdir())

    def fails(*arguments: object, **more: object) -> str:
        raise RuntimeError("ended")

    monkeypatch.setattr(publishing, "board_page", fails)  # after board.json and the values were written
    with pytest.raises(RuntimeError, match="ended"):
        merge_boards([first], tmp_path / "c")
    assert sorted(tmp_path.iterdir()) == before
