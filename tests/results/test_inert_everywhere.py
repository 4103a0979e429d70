"""Hostile names in every field of a run come out inert in every command's output: a property over drawn runs, of which
one is tried in the fast tests."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from latentbench.results.bd_table import bd_rate_text
from latentbench.results.board import NAME
from latentbench.results.export import export
from latentbench.results.leaderboard import compare, leaderboard, typeset
from latentbench.results.metric import Metric
from latentbench.results.plot import plot
from latentbench.results.publish import publish
from latentbench.results.report.build import report
from latentbench.results.rows import rows
from latentbench.results.store import Store

from .conftest import add_cell, metric
from .hostile import check_html, check_latex, check_markdown, check_visible, names, storable

PAGE = (
    "html head meta title style body h1 h2 h3 section div table caption thead tbody tr th td button b span ul li script"
)
PAGE += " main nav a p link details summary header footer"
SVG = "{http://www.w3.org/2000/svg}"


def hostile_run(root: Path, draw: random.Random) -> Path:
    """A run whose every text is one of the names: suite, data, recipes, labels, options, protocols, units, failures."""
    drawn = [storable(name) for name in names(30)]

    def text() -> str:
        return draw.choice(drawn)

    store, cells = Store(root), []
    rate, distance = (metric("real_bits_per_pixel", 0.0, "lower"), metric("psnr", 0.0))
    protocol, unit, data, option = text(), text(), text(), text()
    for place in range(3):
        label, recipe = f"{place}{text()}", text()
        for point in range(4):
            value = 20 + point + 0.1 * place
            measured = [
                Metric(**{**vars(distance), "value": value, "protocol": protocol, "unit": unit, "se": 0.1}),
                Metric(**{**vars(rate), "value": 1.0 + point, "protocol": protocol}),
            ]
            axes = {"n": point, option: f"{point}{text()}"}
            failed = place == 2 and point == 3
            cell = add_cell(
                store, f"c{place}-{point}", metrics=measured, label=label, recipe=recipe, axes=axes, failed=failed
            )
            cells.append({**cell, "dataset": data, "modality": "image"})
    store.write_suite(text(), cells)
    return root


@pytest.fixture(scope="module", params=[0, pytest.param(1, marks=pytest.mark.slow)])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile_run(tmp_path_factory.mktemp("run"), random.Random(request.param))


CHECKS: dict[str, Callable[[str], None]] = {
    "md": check_markdown,
    "latex": check_latex,
    "html": lambda text: check_html(text, PAGE),
}


@pytest.mark.parametrize("format", CHECKS)
def test_tables(run: Path, format: str) -> None:
    check = CHECKS[format]
    option = next(name for name in rows([run])[0].columns if name not in ("n", "axes"))
    check(leaderboard([run], format=format))
    check(leaderboard([run], format=format, group=["label", option]))
    check(leaderboard([run], format=format, pivot=["n", "recipe"], sort="psnr"))
    check(typeset(compare(run, run), format))


def test_bd_rates(run: Path) -> None:
    check_markdown(bd_rate_text([run]))
    assert all(line["metric"] == "psnr" for line in json.loads(bd_rate_text([run], format="json")))


@pytest.mark.parametrize("long", [False, True])
def test_an_exported_cell_is_no_formula(run: Path, tmp_path: Path, long: bool) -> None:
    export(rows([run]), tmp_path / "x.csv", format="csv", long=long)
    with (tmp_path / "x.csv").open(newline="") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    assert len(cells) > 100
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "\t", "\r"))]
    assert not [cell for cell in cells if cell.startswith("-") and not cell[1:2].isdigit()]


def test_a_board(run: Path, tmp_path: Path) -> None:
    page = publish([run], out=tmp_path / "site")
    check_html(page.read_text(), PAGE)
    labels = {row["columns"]["label"] for row in json.loads((tmp_path / "site" / NAME).read_text())["rows"]}
    assert labels == {row["label"] for row in rows([run])}


def test_a_report_s_data(run: Path, tmp_path: Path) -> None:
    """Scripts hold them as JSON in which nothing ends an element; the page writes them as text (test_page)."""
    if None in map(find_spec, ("plotly", "itables")):
        pytest.skip("plotly or itables is not installed")
    page = report([run], out=tmp_path / "report")
    check_html(page.read_text(), PAGE)
    files = list((tmp_path / "report" / "data").iterdir())
    assert len(files) >= 2
    for path in files:
        text = path.read_text()
        assert text.isascii()
        check_visible(text)
        assert not set("<>&") & set(text)


@pytest.mark.parametrize(
    "options",
    [
        {"y": "psnr", "group": "label,recipe"},
        pytest.param({"kind": "bars", "y": "psnr"}, marks=pytest.mark.slow),
        {"kind": "heatmap", "colour": "psnr", "x": "n", "y": "recipe"},
        pytest.param({"kind": "correlation", "y": "psnr,real_bits_per_pixel,n"}, marks=pytest.mark.slow),
    ],
    ids=lambda options: str(options.get("kind", "lines")),
)
def test_a_picture(run: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    path = plot([run], out=tmp_path / "p.svg", **options)
    texts = []
    for node in ElementTree.parse(path).iter():
        name = str(node.tag)
        assert name.rpartition("}")[2] not in ("script", "foreignObject", "a", "image", "animate", "set")
        assert not [key for key in node.attrib if key.startswith("on")]
        assert all(value.startswith("#") for key, value in node.attrib.items() if key.endswith("href"))
        texts += ["".join(node.itertext())] if name == f"{SVG}text" else []
    assert len(texts) > 4
    for text in texts:
        check_visible(text)
