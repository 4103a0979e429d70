"""The page of what may go wrong names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"


def test_every_test_that_the_page_names_is_in_the_file_that_it_links() -> None:
    links = re.findall(r"\[(\w+)\]\(\.\./(tests/[\w/]+\.py)\)", PAGE.read_text())
    named = [(name, path) for name, path in links if Path(path).name.startswith("test_") and name != "tested"]
    assert len(named) > 90
    for name, path in named:
        assert f"def test_{name}(" in (PAGE.parents[1] / path).read_text(), name
