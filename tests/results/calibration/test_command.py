"""`latentbench calibrate` from end to end."""

import json
from pathlib import Path

import pytest

from latentbench.bench import cli
from latentbench.results.calibration import command
from latentbench.results.calibration.command import calibrations, observations
from latentbench.results.errors import UserError

TABLE = "name,gfid,viv,psnr\na,1,2,20\nb,2,3,21\nc,4,5,22\nd,8,4,23\ne,9,6,20\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "t.csv"
    path.write_text(TABLE)
    return path


def test_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["calibrate", str(file), "--outcome", "gfid", "--format", "json"]) == 0
    viv, psnr = json.loads(capsys.readouterr().out)
    assert (viv["proxy"], viv["n"], psnr["baseline"]) == ("viv", 5, True)
    assert viv["spearman"]["overall"]["value"] == pytest.approx(0.9)


def test_a_pipe_gets_markdown_and_the_pictures_name(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = file.with_suffix(".svg")
    assert cli.main(["calibrate", str(file), "--outcome", "gfid", "--plot", str(picture)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("## t.csv: what predicts gfid (5 tokenizers)")
    assert out.endswith(f"{picture}\n")
    assert picture.is_file()


@pytest.mark.slow
def test_runs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["calibrate", str(runs), "--format", "text", "--family", "recipe"]) == 0
    out = capsys.readouterr().out
    assert "9 tokenizers of 3" in out
    assert "families" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["t.csv"], "--outcome: name the column"),
        (["t.csv", "--outcome", "gfid", "--where", "a=1"], "t.csv: filter 'a=1': unknown column 'a'"),
        (["t.csv", "runs", "--outcome", "gfid"], "folders of runs or CSV files, not both"),
        (["none"], "none: no such folder"),
        (["t.csv", "--outcome", "gfid", "--proxies", "a,,b"], "expected names with commas"),
        (["t.csv", "--outcome", "gfid", "--plot", "p.gif"], "must end in"),
        (["t.csv", "--outcome", "gfid", "--admit", "all"], "t.csv: --admit all is of runs; none of its columns says"),
        (["earned.csv", "--outcome", "gfid", "--admit", "earned"], "--where 'earned_gfid!=no', and none for all"),
        (["same.csv", "--outcome", "gfid"], "same.csv: gfid is 5 for all 3 tokenizers: there is nothing to predict"),
        (["bare.csv", "--outcome", "gfid"], "nothing to predict gfid by: expected a column of numbers that differ"),
        (["bare.csv", "--outcome", "gfid"], "viv (line 2 has '1%')"),
    ],
)
def test_mistakes(
    file: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    Path("earned.csv").write_text("name,gfid,viv,earned_gfid\na,1,2,yes\n")
    Path("same.csv").write_text("name,gfid,viv\na,5,1\nb,5,2\nc,5,3\n")
    Path("bare.csv").write_text("name,gfid,viv,x\na,1,1%,3\nb,2,2%,3\nc,3,3%,3\n")
    try:
        code = cli.main(["calibrate", *words])
    except SystemExit as stop:
        code = int(stop.code or 0)
    assert code == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_two_tokenizers_are_too_few(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("name,gfid,viv\na,1,2\nb,2,3\n")
    with pytest.raises(UserError, match="needs three tokenizers, and it has 2"):
        calibrations([path], outcome="gfid")


@pytest.mark.parametrize(("name", "delimiter"), [("t.tsv", "\t"), ("T.CSV", ";"), ("t.txt", ",")])
def test_other_delimiters(file: Path, name: str, delimiter: str, capsys: pytest.CaptureFixture[str]) -> None:
    def table(path: Path) -> list[dict[str, object]]:
        assert cli.main(["calibrate", str(path), "--outcome", "gfid", "--format", "json"]) == 0
        return [{**one, "table": ""} for one in json.loads(capsys.readouterr().out)]

    other = file.with_name(name)
    other.write_text(TABLE.replace(",", delimiter))
    assert table(other) == table(file)


def test_huge_values_have_their_coefficients(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A warning of overflow is an error here."""
    huge = file.with_name("huge.csv")
    rows = [line.split(",") for line in TABLE.split()]
    again = [[name, f"{gfid}e298", f"{viv}e-200", f"{psnr}e200"] for name, gfid, viv, psnr in rows[1:]]
    huge.write_text("\n".join(map(",".join, [rows[0], *again])) + "\n")
    found = []
    for path in (file, huge):
        assert cli.main(["calibrate", str(path), "--outcome", "gfid", "--format", "json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    for plain, large in zip(*found, strict=True):
        for kind in ("pearson", "spearman", "kendall"):
            assert large[kind]["overall"]["value"] == pytest.approx(plain[kind]["overall"]["value"])
    assert cli.main(["calibrate", str(huge), "--outcome", "gfid", "--fit-score", str(file.with_name("s.json"))]) == 2
    assert "a score squares its values" in capsys.readouterr().err


def test_directions_of_runs_are_told_as_those_of_a_table(runs: Path) -> None:
    (table,) = observations([runs], higher=["v*"], better="lower")
    assert {p.name: p.direction for p in table.predictors}["viv"] == "higher"
    assert "mean_rank is 5 for all 9 tokenizers" in table.notes[-1]
    for options, message in (
        ({"higher": ["nope"]}, "--higher: unknown column 'nope'"),
        ({"better": "higher"}, "--better higher: of log gfd_scattering lower is better"),
        ({"outcome": "gfd_scattering", "fixed": ["gfd_scattering"]}, "--given gfd_scattering: that is the outcome"),
    ):
        with pytest.raises(UserError, match=message):
            observations([runs], **options)  # type: ignore[arg-type]


def test_a_table_of_thousands_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "LARGEST", 4)
    with pytest.raises(UserError, match="5 tokenizers; a calibration compares all pairs of 4 at most"):
        observations([file], outcome="gfid")
