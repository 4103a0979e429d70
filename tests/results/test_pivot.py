"""A metric over two columns: what stands where, what is best, and what does not fit in a grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench.cli import main
from latentbench.results.errors import UserError
from latentbench.results.leaderboard import leaderboard
from latentbench.results.metric import Metric
from latentbench.results.pivot import pivot_table, pivots
from latentbench.results.rows import rows
from latentbench.results.store import Store

Add = Callable[..., dict[str, Any]]


@pytest.fixture
def grid(tmp_path: Path, add: Add) -> Path:
    """Downsample 2, 4, 16 × channels 4, 8, without (16, 8); PSNR is 40 - downsample + channels, of two seeds."""
    store = Store(tmp_path / "grid")
    cells = []
    for downsample in (16, 2, 4):
        for channels in (8, 4):
            if (downsample, channels) == (16, 8):
                continue
            for seed in range(2):
                value = 40.0 - downsample + channels + 0.01 * seed
                metric = Metric(
                    name="psnr", value=value, direction="higher", protocol="p", unit="dB", role="distortion"
                )
                axes = {"downsample": downsample, "channels": channels, "beta": 1}
                cells.append(add(store, f"{downsample}-{channels}", metrics=[metric], axes=axes, seed=seed))
    store.write_suite("s", cells)
    return store.root


def test_each_value_stands_in_its_place(grid: Path) -> None:
    (pivot,) = pivots(rows([grid]), "downsample,channels")
    assert pivot.rows == (2, 4, 16)  # as numbers, not as text
    assert pivot.columns == (4, 8)
    table = pivot_table(pivot)
    values = [[cell.value for cell in line] for line in table.lines]
    assert values == [
        [2, pytest.approx(42.005), pytest.approx(46.005)],
        [4, *map(pytest.approx, (40.005, 44.005))],
        [16, pytest.approx(28.005), None],
    ]
    assert pivot.best == {(2, 8)}
    assert [[cell.best for cell in line[1:]] for line in table.lines] == [[False, True], [False, False], [False, False]]


def test_the_command(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", str(grid), "--pivot", "downsample,channels"]) == 0
    out = capsys.readouterr().out
    assert "| downsample | channels 4 |" in " ".join(out.split()).replace("**", "")
    assert "–" in out
    for format in ("html", "latex"):
        assert "channels 8" in leaderboard([grid], pivot="downsample,channels", format=format)


@pytest.mark.parametrize(
    ("pivot", "message"),
    [
        ("downsample", "name two columns"),
        ("downsample,downsample", "name two columns"),
        ("downsampel,channels", "did you mean 'downsample'"),
        ("downsample,beta", "keep one value of channels with --where"),
        ("downsample,codebook", "unknown column"),
    ],
)
def test_what_is_no_grid_is_one_line(grid: Path, pivot: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        leaderboard([grid], pivot=pivot)


@pytest.mark.parametrize("option", ["group", "columns", "pareto"])
def test_options_of_other_tables_are_refused(grid: Path, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    named = ["--pivot", "downsample,channels", f"--{option}", "psnr,downsample"]
    assert main(["leaderboard", str(grid), *named]) == 2
    error = capsys.readouterr().err
    assert error.endswith(f"leave out --{option}\n")
    assert error.count("\n") == 1


def test_csv_has_no_grid(grid: Path) -> None:
    with pytest.raises(UserError, match="--group and --pivot are of tables"):
        leaderboard([grid], pivot="downsample,channels", format="csv")


def test_a_table_for_each_value_of_a_column(grid: Path) -> None:
    text = leaderboard([grid], group="downsample")
    titles = [line.rpartition(" · ")[2] for line in text.splitlines() if line.startswith("## ")]
    assert sorted(titles) == ["downsample 16", "downsample 2", "downsample 4"]
    assert text.count("**") == 4  # a best of the two tables of two lines; one line is no best
    with pytest.raises(UserError, match="--group"):
        leaderboard([grid], group="downsampel")
