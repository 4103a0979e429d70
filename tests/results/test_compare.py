"""One run against another: which tokenizers are paired, the differences and their intervals, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from latentbench.bench.cli import main
from latentbench.results.errors import UserError
from latentbench.results.leaderboard import compare, typeset
from latentbench.results.metric import Metric
from latentbench.results.store import Store
from latentbench.results.tables import Table

Add = Callable[..., dict[str, Any]]
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, add: Add) -> Make:
    """Writes a run of a recipe with a PSNR per seed, and a loss where lower is better."""

    def run(
        name: str, psnr: list[float], *, recipe: str = "ae", protocol: str = "p", more: tuple[str, ...] = ()
    ) -> Path:
        store = Store(tmp_path / name)
        cells = []
        for seed, value in enumerate(psnr):
            metrics = [
                Metric(name="psnr", value=value, direction="higher", protocol=protocol, unit="dB", role="distortion"),
                Metric(name="lpips", value=value / 100, direction="lower", protocol="l", role="distortion"),
            ]
            for one in (recipe, *more):
                cells.append(add(store, one, metrics=metrics, recipe=one, seed=seed))
        store.write_suite("s", cells)
        return store.root

    return run


def texts(table: Table) -> dict[str, list[str]]:
    """Each line's cells by its metric."""
    return {str(line[2].value): [cell.text for cell in line] for line in table.lines}


def test_differences_are_those_of_a_paired_t_test(make: Make) -> None:
    a, b = [20.0, 20.2, 20.4], [21.0, 21.3, 21.6]
    (table,) = compare(make("a", a), make("b", b), columns="psnr,lpips")
    names = [column.name for column in table.columns]
    psnr = dict(zip(names, table.lines[0], strict=True))
    expected = stats.ttest_rel(b, a).confidence_interval(0.95)
    assert psnr["B − A"].value == pytest.approx(1.1)
    low, high = (float(text) for text in psnr["95 % interval"].text.strip("[]").split(", "))
    assert low == pytest.approx(expected.low, rel=1e-3)
    assert high == pytest.approx(expected.high, rel=1e-3)
    assert psnr["better"].text == "B"
    assert texts(table)["lpips"][-1] == "A"  # lower is better
    assert "seed by seed" in " ".join(table.notes)
    assert "2 of 2 differences leave zero out" in " ".join(table.notes)


def test_what_does_not_differ_is_not_said_to(make: Make) -> None:
    (table,) = compare(make("a", [20.0, 20.2, 20.4]), make("b", [20.4, 20.1, 20.2]), columns="psnr")
    assert stats.ttest_rel([20.4, 20.1, 20.2], [20.0, 20.2, 20.4]).pvalue > 0.05
    assert texts(table)["psnr"][-1] == ""
    same = make("c", [20.0, 20.2])
    (table,) = compare(same, same, columns="psnr")
    assert math.isclose(float(texts(table)["psnr"][5]), 0.0)
    assert texts(table)["psnr"][-1] == ""


def test_other_protocols_are_not_compared(make: Make) -> None:
    (table,) = compare(make("a", [20.0, 20.2]), make("b", [30.0, 30.2], protocol="q"), columns="psnr,lpips")
    assert texts(table)["psnr"][-3:] == ["–", "–", "two protocols"]
    assert texts(table)["lpips"][-1] == "A"
    assert "1 of 1 differences" in " ".join(table.notes)


def test_tokenizers_of_one_run_alone(make: Make) -> None:
    first, second = make("a", [20.0, 20.1], more=("vq",)), make("b", [20.0, 20.3])
    (table,) = compare(first, second, columns="psnr")
    assert len(table.lines) == 1
    assert "In A alone: vq." in table.notes
    with pytest.raises(UserError, match="share no tokenizer"):
        compare(first, make("c", [1.0], recipe="other"))


def test_suites_of_one_folder_are_not_mixed(tmp_path: Path, add: Add) -> None:
    def two(name: str, shift: float) -> Path:
        store = Store(tmp_path / name)
        for suite, level in (("s", 20.0), ("t", 30.0)):
            values = [level + shift + 0.1 * seed for seed in range(2)]
            metrics = [
                [Metric(name="psnr", value=v, direction="higher", protocol="p", role="distortion")] for v in values
            ]
            cells = [add(store, f"{suite}{i}", metrics=m, recipe="ae", seed=i) for i, m in enumerate(metrics)]
            store.write_suite(suite, cells)
        return store.root

    drawn = compare(two("a", 0.0), two("b", 1.0), columns="psnr")
    assert {table.suite: table.lines[0][3].value for table in drawn} == pytest.approx({"s": 20.05, "t": 30.05})
    assert [table.lines[0][5].value for table in drawn] == pytest.approx([1.0, 1.0])


def test_why_a_metric_is_not_compared_is_said(tmp_path: Path, add: Add) -> None:
    def run(name: str, seeds: int, **facts: Any) -> Path:
        store, cells = Store(tmp_path / name), []
        for seed in range(seeds):
            viv = Metric(name="viv", value=seed + 1.0, direction="lower", role="modelability")
            cells.append(add(store, "ae", metrics=[viv], recipe="ae", seed=seed, **facts))
        store.write_suite("s", cells)
        return store.root

    (table,) = compare(run("a", 2), run("b", 2, positions=64), columns="viv")
    assert texts(table)["viv"][-1] == "other latents"
    assert any(note.startswith("Not compared: VIV: it depends on the shape of the latents") for note in table.notes)


def test_the_command(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = str(make("a", [20.0, 20.2, 20.4])), str(make("b", [21.0, 21.3, 21.6]))
    assert main(["leaderboard", "--compare", first, second, "--columns", "psnr"]) == 0
    out = capsys.readouterr().out
    assert "PSNR (dB) ↑" in out
    assert "+1.1" in out
    for wrong in ([first], [first, second, "--sort", "psnr"], [first, second, "--format", "csv"]):
        assert main(["leaderboard", "--compare", *wrong]) == 2
        captured = capsys.readouterr()
        assert not captured.out
        assert captured.err.count("\n") == 1
        assert "--compare" in captured.err


def test_names_are_inert(make: Make) -> None:
    label = "<script>=1\x1b[2J|"
    drawn = compare(make("a", [20.0, 20.2], recipe=label), make("b", [20.0, 20.3], recipe=label))
    for format in ("md", "html", "latex"):
        text = typeset(drawn, format, whole=True)
        assert "<script>=" not in text
        assert "\x1b" not in text
