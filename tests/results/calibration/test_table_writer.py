"""The values of runs as a CSV, which calibrates as the runs do."""

import csv
from pathlib import Path

import pytest

from latentbench.bench import cli
from latentbench.results.calibration.report import calibrate
from latentbench.results.calibration.run_records import read_runs
from latentbench.results.calibration.table_file import read_table
from latentbench.results.calibration.table_writer import write_table
from latentbench.results.errors import UserError
from latentbench.results.store import Store


def test_the_file_calibrates_as_its_runs_do(runs: Path, tmp_path: Path) -> None:
    path = tmp_path / "values.csv"
    assert write_table(path, [runs]) == 18
    for number, outcome in enumerate(("log_gfd_scattering", "mean_rank")):
        runs_own = calibrate(read_runs([runs], admit="all")[number], draws=50)
        from_file = calibrate(read_table(path, outcome=outcome), draws=50)
        ours = {report.predictor.name: report for report in from_file.proxies}
        assert ours.keys() == {report.predictor.name for report in runs_own.proxies}
        for report in runs_own.proxies:
            other = ours[report.predictor.name]
            assert (other.n, other.predictor.baseline) == (report.n, report.predictor.baseline)
            assert other.predictor.direction == report.predictor.direction or report.predictor.baseline
            assert other.predictor.seconds == pytest.approx(report.predictor.seconds)
            assert other.predictor.share_of_flops == pytest.approx(report.predictor.share_of_flops)
            for level, value in report.correlations.items():
                assert other.correlations[level].value == pytest.approx(value.value, abs=1e-6)


def test_what_the_file_says_by_itself_and_what_the_caller_says(runs: Path, tmp_path: Path) -> None:
    path = tmp_path / "values.csv"
    write_table(path, [runs])
    table = read_table(path, outcome=None)
    assert (table.outcome, table.families, table.fixed) == ("log_gfd_scattering", 3, ("bits_per_sample", "psnr"))
    (viv,) = (p for p in table.predictors if p.name == "viv")
    assert viv.direction == "lower"
    (viv,) = (p for p in read_table(path, outcome=None, higher=["viv"]).predictors if p.name == "viv")
    assert viv.direction == "higher"
    assert len(read_table(path, outcome=None, where=["family!=pca", "seed=0"]).items) == 6
    with path.open() as file:
        assert [line[: line.index(":")] for line in file if line.startswith("#")][:3] == [
            "# modality",
            "# outcome",
            "# family",
        ]


def test_whether_a_prior_earned_its_outcome(runs: Path, tmp_path: Path) -> None:
    path = tmp_path / "values.csv"
    write_table(path, [runs])
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    (first, *_) = csv.DictReader(lines)
    assert first["earned_gfd_scattering"] == ""  # nothing in closed form to compare it with
    assert (first["name"], first["seed"]) == ("kl-vae (channels=2)", "0")


def test_what_is_refused(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (suite,) = Store(runs).read_suites()
    Store(runs).write_suite("demo", [*suite["cells"], {**suite["cells"][0], "cell": "f", "dataset": "faces"}])
    with pytest.raises(UserError, match=r"one data set, and here are demo · shapes.*choose by --where dataset=NAME"):
        write_table(tmp_path / "values.csv", [runs])
    assert cli.main(["calibrate", str(tmp_path / "x.csv"), "--table", str(tmp_path / "y.csv")]) == 2
    assert "give their folders, not a CSV" in capsys.readouterr().err
    assert cli.main(["calibrate", str(runs), "--table", str(tmp_path / "y.csv"), "--format", "md"]) == 2
    assert "leave out --format" in capsys.readouterr().err
    chosen = ["calibrate", str(runs), "--table", str(tmp_path / "y.csv"), "--where", "dataset=shapes"]
    assert cli.main(chosen) == 0
    assert "18 lines" in capsys.readouterr().out
    assert cli.main(["calibrate", str(tmp_path / "y.csv"), "--where", "famly=a"]) == 2
    assert "unknown column 'famly'; did you mean 'family'?" in capsys.readouterr().err
