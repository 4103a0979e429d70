"""Names of any sort are shown and never interpreted: in a terminal, Markdown, LaTeX, CSV, HTML, plans and progress."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from latentbench.results.display import files_line, printable
from latentbench.results.leaderboard import leaderboard, show
from latentbench.results.metric import Metric
from latentbench.results.store import Store

from .hostile import check_html, check_latex, check_markdown, check_visible, names, storable

Add = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, module_add: Add) -> Path:
    """A run whose labels are those names (what a suite's file can hold of them)."""
    root = tmp_path_factory.mktemp("inert")
    store = Store(root)
    cells = []
    for i, name in enumerate(names()):
        label = storable(name)
        metrics = [Metric(name="psnr", value=1.0 + i)]
        cells.append(module_add(store, f"c{i}", metrics=metrics, label=label, axes={"n": i, "=x": 1}))
    store.write_suite("s", cells)
    return root


@pytest.fixture(scope="module")
def module_add() -> Add:
    from .conftest import add_cell

    return add_cell


@pytest.mark.parametrize("name", names())
def test_printable_is_one_line_of_visible_characters(name: str) -> None:
    text = printable(name)
    assert text.isprintable()
    assert text.encode("utf-8").decode() == text
    assert printable(text) == text
    visible = [c for c in name if c.isprintable() and c != " "]
    assert [c for c in text if c not in " \N{REPLACEMENT CHARACTER}"] == [
        c for c in visible if c != "\N{REPLACEMENT CHARACTER}"
    ]


@pytest.mark.parametrize("format", ["md", "latex", "html", "csv"])
def test_no_format_lets_a_control_character_through(folder: Path, format: str) -> None:
    check_visible(leaderboard([folder], format=format))


def test_json_has_the_names_as_they_are(folder: Path) -> None:
    labels = [row["label"] for row in json.loads(leaderboard([folder], format="json"))]
    assert "[/red]" in labels
    assert "\x1b[2J\x07\x7f\x9b1m" in labels


def test_markdown_holds_no_markup_of_a_name(folder: Path) -> None:
    text = leaderboard([folder])
    check_markdown(text)
    assert "&amp;lt;b&amp;gt;" in text.replace("\\>", ">") or "&amp;lt;b" in text


def test_html_has_our_elements_alone(folder: Path) -> None:
    text = leaderboard([folder], format="html")
    ours = "html head meta title style body h1 h2 section div table thead tbody tr th td button b span ul li script"
    check_html(text, ours)
    assert text.count("<script>") == 1
    assert "Content-Security-Policy" in text


def test_csv_cells_are_no_formulas(folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(leaderboard([folder], format="csv"))))
    labels = [row["label"] for row in rows]
    assert len(labels) == len(names())
    assert not [label for label in labels if label.startswith(("=", "+", "-", "@"))]
    assert "'=cmd()|' /C calc'!A0" in labels
    assert float(rows[0]["psnr"]) == 1.0
    assert "'=x" in rows[0]
    cells = [cell for row in rows for cell in row.values()]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]


def test_latex_has_no_command_of_a_name(folder: Path) -> None:
    check_latex(leaderboard([folder], format="latex"))


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize("width", [80, 160])
def test_a_terminal_of_any_encoding_shows_them(folder: Path, encoding: str, width: int) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace")
    console = Console(width=width, file=stream, force_terminal=True, color_system=None, legacy_windows=False)
    show([folder], console)
    stream.flush()
    text = re.sub(r"\x1b\[[01]?m", "", raw.getvalue().decode(encoding))  # our own bold
    check_visible(text)
    if encoding == "utf-8":
        assert "[/red]" in text


def test_counts_of_files_are_inert_too() -> None:
    counts = {"files": 3, "used": 1, "skipped": 2, "duplicates": 0, "train": 1, "val": 1}
    line = files_line(counts, {"\x1b[2J": 2})
    assert line == "3 files: 1 used, 2 skipped (2 \N{REPLACEMENT CHARACTER}[2J); 1 training and 1 validation samples"
