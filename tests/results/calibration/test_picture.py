"""Scatter plots: a file per calibration, families told apart, nothing of a name interpreted."""

from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from latentbench.results.calibration.chance import corrected_p
from latentbench.results.calibration.picture import draw
from latentbench.results.calibration.report import calibrate
from latentbench.results.calibration.run_records import read_runs
from latentbench.results.calibration.table_file import read_table
from latentbench.results.errors import UserError


@pytest.mark.slow
def test_a_file_per_calibration_of_the_same_bytes_each_time(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latentbench.results.calibration.report.corrected_p", partial(corrected_p, draws=20))
    results = [calibrate(table, draws=20) for table in read_runs([runs])]
    files = draw(results, tmp_path / "c.png")
    assert [file.name for file in files] == ["c.png", "c-2.png"]
    with Image.open(files[0]) as image:
        assert image.size[0] > 400
        assert len(image.convert("RGB").getcolors(1 << 20) or []) > 20
    for name in ("a.svg", "b.svg"):
        draw(results[:1], tmp_path / name)
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text()
    assert "kl-vae" in text
    assert "viv" in text
    assert "one variance for all tokenizers" in text


def test_names_are_only_text(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("name,f,gfid,$\\frac{$\na,_x,1,1\nb,_x,2,3\nc,\x1b[1m,3,2\nd,$$,4,4\n")
    (file,) = draw([calibrate(read_table(path, outcome="gfid", family="f"), draws=20)], tmp_path / "t.svg")
    text = file.read_text()
    assert "$\\frac{$" in text
    assert "_x" in text
    assert "\x1b" not in text


def test_another_format(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must end in \.png, \.svg, \.pdf"):
        draw([], tmp_path / "x.jpg")
