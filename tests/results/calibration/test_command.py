"""`latentbench calibrate` from end to end."""

import json
from pathlib import Path

import pytest

from latentbench.bench import cli
from latentbench.results.calibration.command import calibrations
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
    ],
)
def test_mistakes(
    file: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
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
