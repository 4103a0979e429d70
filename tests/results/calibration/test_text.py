"""A calibration on a terminal, in Markdown and as JSON."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from latentbench.results.calibration.levels import Correlation
from latentbench.results.calibration.report import calibrate
from latentbench.results.calibration.run_records import read_runs
from latentbench.results.calibration.table_file import read_table
from latentbench.results.calibration.text import markdown, shown, terminal, to_json


def test_json_has_one_object_per_proxy(runs: Path) -> None:
    result = calibrate(read_runs([runs], outcome="gfd_scattering")[0], draws=50)
    entries = json.loads(to_json([result]))
    by_name = {entry["proxy"]: entry for entry in entries}
    viv = by_name["viv"]
    assert viv["n"] == 9
    assert viv["spearman"]["overall"]["value"] == pytest.approx(1)
    assert len(viv["spearman"]["overall"]["interval"]) == 2
    assert viv["spearman"]["within"]["value"] == pytest.approx(1)
    assert viv["ceiling"]["overall"]["seeds"] == 2
    low, high = viv["ceiling"]["overall"]["interval"]
    assert low < high <= 1
    assert viv["seed_correlation"]["n"] == 9
    assert viv["partial_spearman"]["given"] == ["bits_per_sample", "psnr"]
    assert viv["regret"]["value"] == 0
    assert by_name["local_correlation"]["spearman"] == {}
    assert by_name["psnr"]["baseline"]


def test_a_terminal_of_80_columns(runs: Path) -> None:
    result = calibrate(read_runs([runs])[0], draws=50)
    file = io.StringIO()
    Console(file=file, width=80, no_color=True).print(*terminal(result, 80), sep="\n", highlight=False)
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.strip().startswith("viv") and "1.00 [" in line for line in lines)
    assert any("Noise ceiling" in line for line in lines)


def test_names_are_inert_in_markdown(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("name,gfid,[x](http://y) |<b>\u202e\na,1,1\nb,2,3\nc,3,2\n")
    text = markdown(calibrate(read_table(path, outcome="gfid"), draws=20))
    assert "\u202e" not in text
    assert r"\[x\](http://y) \|\<b>" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Correlation(value=0.8, low=0.48, high=0.93, n=21), ".80 [.48, .93]"),
        (Correlation(value=-0.14, low=-0.5, high=0.3, n=21), "−.14 [−.50, .30]"),
        (Correlation(value=1.0, low=None, high=None, n=4), "1.00"),
        (Correlation(value=-0.001, low=None, high=None, n=4), ".00"),
        (None, ""),
    ],
)
def test_coefficients_as_papers_set_them(value: Correlation | None, text: str) -> None:
    assert shown(value) == text
