"""Cases of `tests/coverage/fuzz.py`: each is planned, or refused in one inert line that names the place."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The bench, in a folder of its own."""
    path = Path(__file__).parents[1] / "coverage" / "fuzz.py"
    spec = importlib.util.spec_from_file_location("fuzz", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fuzz", module)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    return module


def test_sixty_cases_of_the_fuzz(fuzz: ModuleType, tmp_path: Path) -> None:
    lines: list[str] = []
    verdicts = fuzz.run(60, 1, tmp_path)
    assert fuzz.report(verdicts, lines.append) == 0, lines
    assert {"plan", "refused"} == {verdict.outcome for verdict in verdicts}
