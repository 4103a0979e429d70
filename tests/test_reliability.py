"""Pages of what may go wrong name tests that are there."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize(("page", "least"), [("reliability.md", 90), ("adapters.md", 50)])
def test_every_test_that_a_page_names_is_in_the_file_that_it_links(page: str, least: int) -> None:
    links = re.findall(r"\[(\w+)\]\(\.\./(tests/[\w/]+\.py)\)", (DOCS / page).read_text())
    named = [(name, path) for name, path in links if Path(path).name.startswith("test_") and name != "tested"]
    assert len(named) > least
    for name, path in named:
        assert f"def test_{name}(" in (DOCS.parent / path).read_text(), name


def test_the_page_s_table_of_faults_is_the_recorded_one() -> None:
    update = runpy.run_path(str(DOCS / "update_reliability.py"))
    recorded = json.loads((DOCS / "faults.json").read_text())
    page = (DOCS / "reliability.md").read_text()
    assert update["filled"](page, update["table"](recorded)) == page, "python docs/update_reliability.py"
