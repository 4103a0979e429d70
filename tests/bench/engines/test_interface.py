"""An engine of somebody else's: the example of docs/engines.md, chosen by name, runs a suite like the local one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "engines.md"


def example() -> str:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(block.splitlines()) <= 40
    return block


@pytest.mark.slow
def test_the_page_s_engine_runs_a_suite(latentbench: Any, tmp_path: Path) -> None:
    (tmp_path / "one_by_one.py").write_text(example())
    (tmp_path / "tiny.toml").write_text(
        'name = "tiny"\ntasks = ["reconstruction"]\ndata = {size = 16, samples = 64, val = 16}\n'
        'tokenizers = [{recipe = "pca", channels = 4}]\nencoder = {training = {steps = 2}}\n'
    )
    options = ("--import", "one_by_one.py", "--engine", "one-by-one", "--out", "out")
    done = latentbench("run", "./tiny.toml", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "[4/4] finished reconstruction procedural-image-16 pca" in done.stderr
    again = latentbench("run", "./tiny.toml", "--out", "out", cwd=tmp_path)
    assert (again.returncode, again.stderr) == (0, "4 jobs are finished already; 0 to do\n")
    listed = latentbench("list", "engines", "--import", "one_by_one.py", cwd=tmp_path).stdout
    assert "one-by-one  One job after another, each in a fresh interpreter on one core." in listed
