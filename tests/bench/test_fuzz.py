"""Small versions of the benches `tests/coverage/fuzz.py` and `tests/coverage/bit_flips.py`."""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

Bench = Callable[[str], ModuleType]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    """A bench by name, in a folder of its own."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "coverage" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


def test_sixty_cases_of_the_fuzz(bench: Bench, tmp_path: Path) -> None:
    fuzz, lines = bench("fuzz"), list[str]()
    verdicts = fuzz.run(60, 1, tmp_path)
    assert fuzz.report(verdicts, lines.append) == 0, lines
    assert {"plan", "refused"} == {verdict.outcome for verdict in verdicts}


@pytest.mark.slow
def test_a_flipped_bit_of_every_sort_is_mended(bench: Bench, tmp_path: Path) -> None:
    flips = bench("bit_flips")
    undisturbed = flips.Place(tmp_path / "undisturbed")
    undisturbed.finish()
    state = undisturbed.copy(tmp_path / "stopped")
    for record in state.out.glob("jobs/prior/*/record.json"):
        record.unlink()
    assert state.stop_while_training("prior")
    drawn = flips.draw_flips(state, random.Random(0), flips.SORTS)
    assert [flip.sort for flip in drawn] == [*flips.SORTS]
    assert flips.round_of_flips(state, undisturbed, drawn, tmp_path / "round") == []
