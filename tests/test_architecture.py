"""The map tells the truth: what docs/architecture.md names is there, and adding something costs what it says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
PLACE = re.compile(r"`((?:bench|tasks|tokenizers|results|tests|docs)/[\w./-]*)(?::(\w+))?`")


def section(title: str) -> str:
    return PAGE.partition(f"## {title}")[2].partition("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def defines(path: Path, name: str) -> bool:
    """Whether a module has a class, a function or a constant of this name at its top."""
    for node in ast.parse(path.read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if getattr(node, "name", None) == name or any(getattr(target, "id", None) == name for target in targets):
            return True
    return False


@pytest.mark.parametrize(("path", "symbol"), sorted(set(PLACE.findall(PAGE))))
def test_every_place_that_the_page_names_is_there(path: str, symbol: str) -> None:
    assert (ROOT / path).exists()
    if symbol:
        assert defines(ROOT / path, symbol), f"{path} has no {symbol}"


def test_questions_are_answered_by_a_place() -> None:
    answers = rows("Where is it decided …")
    assert len(answers) >= 10
    assert [question for question, place in answers if not PLACE.search(place)] == []


@pytest.mark.parametrize("row", rows("To add something"), ids=lambda row: row[0])
def test_adding_something_costs_two_files_and_has_an_example(row: list[str]) -> None:
    _, files, example = row
    assert files.count(";") <= 1  # at most two files: "a module; a line in ..."
    links = re.findall(r"\]\(([\w.-]+\.md)(?:#[\w-]+)?\)", example)
    assert links
    for link in links:
        page = (ROOT / "docs" / link).read_text()
        assert "```python" in page or "```toml" in page, f"{link} has no example"
