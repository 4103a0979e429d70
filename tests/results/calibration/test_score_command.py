"""`calibrate --fit-score` and `score`, from a CSV of figures to an order of runs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench import cli
from latentbench.results.calibration import score_file
from latentbench.results.calibration.command import of_one_outcome
from latentbench.results.calibration.observations import Observations
from latentbench.results.errors import UserError

LINES = [f"t{i},f{i // 3},{0.2 * i + 0.01 * (i % 2)},{0.2 * i},{(i * 7) % 5}" for i in range(12)]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["name,family,gfid,viv,spread", *LINES]) + "\n")
    return path


def fit(table: Path, *more: str) -> int:
    words = ["calibrate", str(table), "--outcome", "gfid", "--family", "family", *more]
    return cli.main([*words, "--fit-score", str(table.with_suffix(".json"))])


def test_from_figures_to_an_order(table: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(table) == 0
    out = capsys.readouterr().out
    assert "modelability_score = " in out
    assert "The score has skill on families that it was not fitted on." in out
    plain = json.loads(table.with_suffix(".json").read_text())
    assert (plain["version"], [term["proxy"] for term in plain["terms"]]) == (1, ["viv"])
    assert len(plain["fitted on"]) == 12
    assert cli.main(["score", str(table.with_suffix(".json")), str(runs), "--best", "2"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][2:]
    assert [line.split(" | ")[1] for line in lines[:2]] == ["kl-vae (channels=2)", "kl-vae (channels=4)"]
    assert [line.startswith("| yes") for line in lines] == [True] * 2 + [False] * 7
    assert "lies outside" in lines[-1]


def test_a_shipped_score_is_known_by_its_name_unless_a_file_has_it(
    table: Path, runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fit(table) == 0
    monkeypatch.setattr(score_file, "_SHIPPED", table.parent)
    monkeypatch.chdir(runs)
    capsys.readouterr()
    assert cli.main(["score", "t", str(runs)]) == 0
    assert "| yes | kl-vae (channels=2)" in capsys.readouterr().out
    for name in ("s", "no/t"):
        assert cli.main(["score", name, str(runs)]) == 2
        assert capsys.readouterr().err == f"latentbench: {name}: No such file or directory; shipped are: t\n"
    Path("t").mkdir()  # of pictures, say
    assert cli.main(["score", "t", str(runs)]) == 0
    assert "| yes | kl-vae (channels=2)" in capsys.readouterr().out
    Path("t").rmdir()
    Path("t").write_text("mine")
    assert cli.main(["score", "t", str(runs)]) == 2
    assert "t: no JSON" in capsys.readouterr().err


def test_what_is_shipped_can_be_read() -> None:
    for name, path in score_file.shipped().items():
        score = score_file.from_json(Path(name))
        assert path.name == f"{name}.json"
        assert score.has_skill
        assert score.modalities


def test_noise_is_said_to_be_noise(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table.write_text(
        "name,family,gfid,a\n" + "\n".join(f"t{i},f{i // 3},{(i * 5) % 12},{(i * i) % 7}" for i in range(12))
    )
    assert fit(table) == 0
    out = capsys.readouterr().out
    assert "No proxy earned a place" in out
    assert cli.main(["score", str(table.with_suffix(".json")), str(table.parent)]) == 2
    assert "No proxy earned a place" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON"),
        ("{}", "no score; `latentbench calibrate"),
        ('{"name": "modelability_score", "version": 9}', "a score of version 9"),
        ('{"name": "modelability_score", "version": 1}', "a damaged score: outcome: missing"),
    ],
)
def test_files_that_are_no_score(text: str, message: str, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = runs.parent / "s.json"
    path.write_text(text)
    assert cli.main(["score", str(path), str(runs)]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("terms", 0, "deviation"), 0, "terms[0].deviation: input should be greater than 0, got 0"),
        (("terms", 0, "deviation"), "x", "terms[0].deviation: input should be a valid number, got 'x'"),
        (("terms", 0, "low"), "a", "terms[0].low: input should be a valid number, got 'a'"),
        (("terms", 0, "low"), 99, "terms[0].low: expected "),
        (("terms", 0, "mean"), math.nan, "terms[0].mean: input should be a finite number"),
        (("terms", 0, "coefficient"), None, "terms[0].coefficient: input should be a valid number"),
        (("terms", 0, "logarithm"), True, "terms[0].low: expected more than 0, since its logarithm is taken, got 0"),
        (("terms", 0, "logarithm"), "no", "terms[0].logarithm: input should be a valid boolean"),
        (("terms", 0, "protocol"), 3, "terms[0].protocol: input should be a valid string"),
        (("terms",), {}, "terms: input should be a valid list"),
        (("intercept",), "0", "intercept: input should be a valid number"),
        (("outcome",), 1, "outcome: input should be a valid string"),
        (("domain", "rows"), -1, "domain.rows: input should be greater than or equal to 0"),
        (("domain", "modalities"), "image", "domain.modalities: input should be a valid list"),
        (("domain", "kinds"), ["both"], "domain.kinds[0]: input should be 'codes' or 'values'"),
        (("domain", "signals"), [1.5], "domain.signals[0]: input should be a valid integer"),
        (("tested", "families left out", "spearman"), {"value": 0.5}, "families left out.spearman.interval: missing"),
        (("tested", "families left out", "n"), None, "families left out.n: input should be a valid integer"),
        (("margins",), [-1.0], "margins[0]: input should be greater than or equal to 0"),
        (("left out", 0, "measured"), "x", "left out[0].measured: input should be a valid number"),
        (("fitted on", 0, "jobs"), [1], "fitted on[0].jobs[0]: input should be a valid string"),
    ],
)
def test_a_damaged_field_is_named(tmp_path: Path, path: tuple[Any, ...], value: Any, message: str) -> None:
    file = tmp_path / "s.json"
    skill = {"n": 12, "variance_explained": 0.5, "spearman": {"value": 0.7, "interval": [0.3, None]}}
    term = {"proxy": "viv", "logarithm": False, "mean": 1, "deviation": 0.5, "coefficient": 0.25, "low": 0, "high": 2}
    plain: Any = {
        "name": "modelability_score",
        "version": 1,
        "outcome": "gfd",
        "intercept": 0.5,
        "terms": [term],
        "domain": {"modalities": ["image"], "rows": 12, "families": 4},
        "tested": {"families left out": skill, "tables left out": {}},
        "left out": [{"family": 0, "predicted": 0.0, "measured": 1}],
        "fitted on": [{"table": "t"}],
    }
    file.write_text(json.dumps(plain))
    assert score_file.from_json(file).terms[0].protocol == ""  # a file of before
    inner = plain
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    file.write_text(json.dumps(plain))
    with pytest.raises(UserError) as error:
        score_file.from_json(file)
    assert str(error.value).startswith(f"{file}: a damaged score: ")
    assert message in str(error.value)


def test_tables_of_another_outcome_are_not_dropped(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def of(title: str, *outcomes: str) -> list[Observations]:
        return [Observations(title=title, outcome=o, direction="lower", items=(), predictors=()) for o in outcomes]

    both = [*of("a", "log gfd_x", "mean_rank"), *of("b", "log gfd_x", "mean_rank")]
    assert of_one_outcome(both) == [both[0], both[2]]
    with pytest.raises(
        UserError, match=r"here log gfd_x, and b has log gfd_y, b has mean_rank: .* --outcome mean_rank$"
    ):
        of_one_outcome([*of("a", "log gfd_x", "mean_rank"), *of("b", "log gfd_y", "mean_rank")])
    with pytest.raises(UserError, match=r"b has gfd_x: name one that all have: --outcome gfd_x$"):
        of_one_outcome([*of("a", "log gfd_x"), *of("b", "gfd_x")])
    with pytest.raises(UserError, match=r"b has log gfd_y: calibrate them apart, or leave them out$"):
        of_one_outcome([*of("a", "log gfd_x"), *of("b", "log gfd_y")])


def test_notes_are_shown_with_a_score(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table.write_text(table.read_text() + "late,f9,,1,1\n")
    assert fit(table) == 0
    assert "- 1 lines without gfid are left out." in capsys.readouterr().out


def test_mistakes(table: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(table, "--pairs") == 2
    assert "leave out --pairs" in capsys.readouterr().err
    assert not table.with_suffix(".json").exists()
    assert cli.main(["calibrate", str(runs), "--fit-score", str(runs.parent / "s.json")]) == 2
    assert "needs 4 of them; there are 3" in capsys.readouterr().err
    assert cli.main(["score", str(runs.parent / "none.json"), str(runs)]) == 2
    assert "none.json: No such file" in capsys.readouterr().err


def test_least_terms_take_what_is_not_certain(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table.write_text(
        "name,family,gfid,a,b\n" + "\n".join(f"t{i},f{i // 3},{(i * 5) % 12},{(i * i) % 7},{i % 5}" for i in range(12))
    )
    assert fit(table, "--terms", "1", "--least-terms", "1") == 0
    plain = json.loads(table.with_suffix(".json").read_text())
    assert len(plain["terms"]) == 1
    assert len(plain["left out"]) == 12
    assert "No skill is shown" in capsys.readouterr().out
    assert fit(table, "--terms", "1", "--least-terms", "2") == 2
    assert "--least-terms 2: more than --terms 1" in capsys.readouterr().err


def test_how_sure_a_choice_is(table: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(table) == 0
    capsys.readouterr()
    assert cli.main(["score", str(table.with_suffix(".json")), str(runs), "--best", "2"]) == 0
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if line.startswith("| ")][2:]
    shares = [line.split(" | ")[3] for line in lines]
    assert int(shares[0].removesuffix(" %")) > 50
    assert shares[-1] == "0 %"
    assert "The best of the 9 with a score is among the chosen 2 with a probability of " in out
    assert "(by chance 0.22)" in out
    assert "It takes scores that are to be doubted as they are." in out
