"""Faults are brought about again: what is seen and kept is what docs/faults.json, and so the page, says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RECORDED: dict[str, dict[str, Any]] = json.loads((ROOT / "docs" / "faults.json").read_text())


@pytest.fixture(scope="module")
def faults(simulation: Callable[[str], ModuleType]) -> ModuleType:
    return simulation("faults")


@pytest.fixture(scope="module")
def whole(faults: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run leaves that nothing disturbs."""
    return Path(faults.undisturbed(tmp_path_factory.mktemp("undisturbed")))


def test_each_fault_is_recorded_and_harmless(faults: ModuleType) -> None:
    assert list(RECORDED) == list(faults.FAULTS)
    for name, result in RECORDED.items():
        assert result["how"] == faults.FAULTS[name][0]
        assert result["same"], name
        assert len(result["kept"]) + len(result["again"]) == result["records"], name


def test_what_two_occurrences_may_differ_in_is_no_difference(faults: ModuleType) -> None:
    one = {"seen": ["cannot write /tmp/a/b.npy after 1.5 s of KEY", "x"], "exit": 2}
    assert faults.alike(one)["seen"] == ["cannot write # after # s of KEY", "x"]
    assert faults.alike(one) == faults.alike(one | {"seen": ["cannot write /c/d.npy after 12 s of KEY", "x"]})
    assert faults.alike(one) != faults.alike(one | {"exit": 1})


# `fork` by a process with threads, which pytest's own are; the faults' runs compute in one.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("name", list(RECORDED))
def test_a_fault_again_is_seen_and_kept_alike(faults: ModuleType, whole: Path, tmp_path: Path, name: str) -> None:
    result = faults.brought_about(name, tmp_path, whole)
    assert faults.alike(result) == faults.alike(RECORDED[name])
