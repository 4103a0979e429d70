"""A folder's own `score.json`: shown without being asked for, and never in the way."""

from __future__ import annotations

import json
import shutil
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from latentbench.bench.gates import keep_score
from latentbench.bench.kinds.gate import GateConfig
from latentbench.results.errors import UserError
from latentbench.results.leaderboard import compare, leaderboard
from latentbench.results.metric import Metric
from latentbench.results.publish import board_tables, publish
from latentbench.results.record import Record
from latentbench.results.rows import rows
from latentbench.results.run_score import with_score_of
from latentbench.results.store import Store

SCORE = "modelability_score"


def term(proxy: str = "viv") -> dict[str, Any]:
    known = {"proxy": proxy, "logarithm": False, "mean": 0.0, "deviation": 1.0, "coefficient": 2.0}
    return known | {"low": 0.0, "high": 9.0}


def score_text(proxy: str = "viv", **changes: Any) -> str:
    skill = {"n": 12, "variance_explained": 0.5, "spearman": {"value": 0.7, "interval": [0.3, 0.9]}}
    plain = {
        "name": SCORE,
        "version": 1,
        "outcome": "log gfd_scattering",
        "intercept": 0.0,
        "terms": [term(proxy)],
        "domain": {"modalities": ["image"], "rows": 12, "families": 4},
        "tested": {"families left out": skill, "tables left out": {}},
        "fitted on": [],
    }
    return json.dumps(plain | changes)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Two cells with a proxy."""
    store = Store(tmp_path / "out")
    facts = {"dataset": "shapes", "modality": "image", "seed": 0, "topology": "grid", "discrete": False}
    rate = dict.fromkeys(("tsr", "tsr_input", "elements", "positions", "bits_per_sample"), 1.0)
    cells = []
    for name, viv in (("pca", 3.0), ("ae", 1.0)):
        metric = Metric(name="viv", value=viv, direction="lower", role="modelability")
        store.save(Record(kind="modelability", key=name, status="finished", metrics=(metric,)))
        known = {
            "cell": name,
            "recipe": name,
            "label": name,
            "axes": {},
            "jobs": {"modelability": f"modelability/{name}"},
        }
        cells.append(facts | rate | known | {"bits_per_element": None, "bitrate": None})
    store.write_suite("demo", cells)
    return store.root


def test_it_is_shown_unasked(out: Path) -> None:
    assert SCORE not in leaderboard([out])
    (out / "score.json").write_text(score_text())
    assert [row[SCORE] for row in with_score_of(rows([out]), [out], None)] == [6.0, 2.0]
    assert SCORE in leaderboard([out], format="csv").splitlines()[0]
    named = out.parent / "named.json"
    named.write_text(score_text(intercept=1.0))
    assert [row[SCORE] for row in with_score_of(rows([out]), [out], named)] == [7.0, 3.0]


@pytest.mark.parametrize("text", [score_text(terms=[]), score_text("absent")])
def test_one_that_says_nothing_changes_nothing(out: Path, text: str) -> None:
    before = leaderboard([out])
    (out / "score.json").write_text(text)
    assert leaderboard([out]) == before


def test_a_board_shows_it_with_its_footnote(out: Path, tmp_path: Path) -> None:
    (out / "score.json").write_text(score_text(terms=[term() | {"high": 2.0}]))  # pca's 3 lies outside
    page = publish([out], out=tmp_path / "site").read_text()
    for text in ("modelability score", "predicts log gfd_scattering", "†", "outside"):
        assert text in page
    read = [row[SCORE] for row in rows([tmp_path / "site"])]
    assert read == [6.0, 2.0]
    lines = leaderboard([tmp_path / "site"], columns="label,modelability_score").splitlines()
    assert lines == leaderboard([out], columns="label,modelability_score").splitlines()
    publish([out], out=tmp_path / "part", where=f"{SCORE}<3")
    assert [row[SCORE] for row in rows([tmp_path / "part"])] == [2.0]
    publish([tmp_path / "site"], out=tmp_path / "again")
    assert [row[SCORE] for row in rows([tmp_path / "again"])] == read
    grid = [leaderboard([place], pivot="recipe,tsr", sort="viv") for place in (out, tmp_path / "site")]
    assert grid[0] == grid[1]
    with pytest.raises(UserError, match="unknown metric 'modelability_score'"):
        leaderboard([tmp_path / "site"], pivot="recipe,tsr", sort=SCORE)
    (compared,) = compare(tmp_path / "site", tmp_path / "again")
    assert {line[2].value for line in compared.lines} == {"viv"}


def test_each_run_of_a_board_has_its_own(out: Path, tmp_path: Path) -> None:
    """Two scores don't stand in one column: each has a table."""
    other = shutil.copytree(out, tmp_path / "other")
    (suite,) = Store(out).read_suites()
    for cell in suite["cells"]:
        cell["cell"] = cell["label"] = f"{cell['label']} too"
    Store(other).write_suite("demo", suite["cells"])
    (out / "score.json").write_text(score_text())
    page = publish([out, other], out=tmp_path / "one").read_text()
    assert "modelability score" in page
    assert [row.get(SCORE) for row in rows([tmp_path / "one"])] == [6.0, 2.0, None, None]
    (other / "score.json").write_text(score_text(intercept=1.0))
    page = publish([out, other], out=tmp_path / "two").read_text()
    assert [row[SCORE] for row in rows([tmp_path / "two"])] == [6.0, 2.0, 7.0, 3.0]
    assert [len(table.groups) for table in board_tables(rows([tmp_path / "two"]))] == [2, 2]
    assert page.count("<table>") == 3  # and the history
    with pytest.raises(UserError, match="modelability_score has two protocols"):
        leaderboard([tmp_path / "two"], columns=SCORE)


def test_a_folders_own_leaves_that_of_a_board(out: Path, tmp_path: Path) -> None:
    (out / "score.json").write_text(score_text())
    publish([out], out=tmp_path / "site")
    (tmp_path / "site" / "score.json").write_text(score_text(intercept=1.0))
    table = with_score_of(rows([tmp_path / "site"]), [tmp_path / "site"], None)
    assert [row[SCORE] for row in table] == [6.0, 2.0]
    named = with_score_of(rows([tmp_path / "site"]), [tmp_path / "site"], tmp_path / "site" / "score.json")
    assert [row[SCORE] for row in named] == [7.0, 3.0]


def test_a_grid_has_no_room_for_it(out: Path) -> None:
    (out / "score.json").write_text(score_text())
    before = leaderboard([out], pivot="recipe,tsr", sort="viv")
    (out / "score.json").unlink()
    assert leaderboard([out], pivot="recipe,tsr", sort="viv") == before


def test_mistakes(out: Path, tmp_path: Path) -> None:
    (out / "score.json").write_text("{")
    with pytest.raises(UserError, match=r"score.json: no JSON"):
        leaderboard([out])
    (out / "score.json").write_text(score_text())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "score.json").write_text(score_text(intercept=1.0))
    with pytest.raises(UserError, match=r"are different scores: name one with --score$"):
        with_score_of(rows([out]), [out, tmp_path / "other"], None)
    (tmp_path / "other" / "score.json").write_text(score_text())
    assert with_score_of(rows([out]), [out, tmp_path / "other"], None)[0][SCORE] == 6.0


def test_a_gates_score_stays_in_the_folder(out: Path, tmp_path: Path) -> None:
    suite: Any = SimpleNamespace(options={"gate": GateConfig(score=str(tmp_path / "gate.json"))})
    said = StringIO()
    console = Console(file=said)
    (tmp_path / "gate.json").write_text(score_text())
    for _ in range(2):
        keep_score(suite, Store(out), console)
        assert (out / "score.json").read_text() == score_text()
    assert said.getvalue() == ""
    (tmp_path / "gate.json").write_text(score_text(intercept=1.0))
    keep_score(suite, Store(out), console)
    assert "is another score than gate.score: tables show that one" in " ".join(said.getvalue().split())
    assert (out / "score.json").read_text() == score_text()
