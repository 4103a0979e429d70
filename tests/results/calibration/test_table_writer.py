"""The values of runs as a CSV, which calibrates as the runs do."""

import csv
import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from latentbench.bench import cli
from latentbench.results.calibration.report import calibrate
from latentbench.results.calibration.run_records import read_runs
from latentbench.results.calibration.table_file import read_table
from latentbench.results.calibration.table_writer import write_table
from latentbench.results.errors import UserError
from latentbench.results.metric import Metric
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


def with_closed_forms(runs: Path) -> None:
    """Those of two channels did not earn their outcome."""
    store = Store(runs)
    for cell in next(iter(store.read_suites()))["cells"]:
        record = store.outcome("modelability", cell["cell"])
        generation = store.outcome("generation", cell["cell"])
        assert record is not None
        assert generation is not None
        bound = (generation.metrics[0].value or 0) * (0.9 if cell["axes"]["channels"] == 2 else 1.5)
        own = Metric(
            name="cfd_gaussian_scattering",
            value=bound,
            direction="lower",
            role="modelability",
            protocol="n = 64; closed",
        )
        store.save(replace(record, metrics=(*record.metrics, own)))


def test_the_printed_command_calibrates_as_the_runs_do(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_closed_forms(runs)
    path = tmp_path / "the values.csv"
    assert cli.main(["calibrate", str(runs), "--family", "recipe", "--lower", "local_*", "--table", str(path)]) == 0
    first, command = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{path}: 18 lines, of all tokenizers.")
    words = shlex.split(command)
    assert words == ["latentbench", "calibrate", str(path), "--where", "earned_gfd_scattering!=no"]
    assert cli.main(["calibrate", str(runs), "--family", "recipe", "--lower", "local_*", "--format", "json"]) == 0
    ours = {one["proxy"]: one for one in json.loads(capsys.readouterr().out) if one["outcome"] != "mean_rank"}
    assert cli.main([*words[1:], "--format", "json"]) == 0
    theirs = {one["proxy"]: one for one in json.loads(capsys.readouterr().out)}
    assert ours["viv"]["n"] == 6
    assert theirs.keys() == ours.keys()
    for name, one in ours.items():
        for same in ("n", "baseline", "direction", "direction_assumed", "pairs", "seconds"):
            assert theirs[name][same] == (pytest.approx(one[same]) if one[same] is not None else None)
        for kind in ("spearman", "kendall", "pearson"):
            assert theirs[name][kind].keys() == one[kind].keys()
            for level, value in one[kind].items():
                assert theirs[name][kind][level] == {key: pytest.approx(part, abs=1e-5) for key, part in value.items()}


def test_protocols_and_what_of_are_kept(runs: Path, tmp_path: Path) -> None:
    with_closed_forms(runs)
    path = tmp_path / "values.csv"
    write_table(path, [runs])
    ours, theirs = read_runs([runs], admit="all")[0], read_table(path, outcome=None)
    assert (theirs.modality, theirs.signal, theirs.samples) == ("image", 3072, 64)
    assert (ours.modality, ours.signal, ours.samples) == ("image", 3072, 64)
    protocols = {p.name: p.protocol for p in theirs.predictors if not p.baseline}
    assert protocols == {p.name: p.protocol for p in ours.predictors if not p.baseline}
    assert protocols["viv"] == "of z"
    assert protocols["cfd_best_scattering"] == protocols["cfd_gaussian_scattering"] == "n = 64; closed"


@pytest.mark.parametrize("outcome", ["gfd_scattering", "psnr"])
def test_a_named_outcome_is_a_column(runs: Path, tmp_path: Path, outcome: str) -> None:
    path = tmp_path / "values.csv"
    write_table(path, [runs], outcome=outcome)
    (ours,), theirs = read_runs([runs], outcome=outcome, admit="all"), read_table(path, outcome=None)
    assert (theirs.outcome, theirs.direction) == (outcome, ours.direction)
    assert [item.outcome for item in theirs.items] == [pytest.approx(item.outcome) for item in ours.items]


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
    assert cli.main(["calibrate", str(runs), "--table", str(tmp_path / "y.csv"), "--admit", "all"]) == 2
    assert "those of all tokenizers: leave out --admit" in capsys.readouterr().err
    chosen = ["calibrate", str(runs), "--table", str(tmp_path / "y.csv"), "--where", "dataset=shapes"]
    assert cli.main(chosen) == 0
    assert "18 lines" in capsys.readouterr().out
    assert cli.main(["calibrate", str(tmp_path / "y.csv"), "--where", "famly=a"]) == 2
    assert "unknown column 'famly'; did you mean 'family'?" in capsys.readouterr().err
