"""Python's search for garbage stops and goes on."""

from __future__ import annotations

import gc

import pytest

from latentbench.results import garbage
from latentbench.results.garbage import no_collections


@pytest.mark.parametrize("enabled", [True, False])
def test_it_is_as_it_was_before(enabled: bool) -> None:
    try:
        if not enabled:
            gc.disable()
        with no_collections():
            assert not gc.isenabled()
        assert gc.isenabled() == enabled
    finally:
        gc.enable()


@pytest.mark.parametrize("frozen", [0, 9])
def test_objects_that_were_kept_out_of_it_stay_so_and_are_counted_once(
    monkeypatch: pytest.MonkeyPatch, frozen: int
) -> None:
    calls: list[str] = []

    def count() -> int:
        calls.append("count")
        return frozen

    monkeypatch.setattr(garbage, "_frozen", False)
    monkeypatch.setattr(gc, "get_freeze_count", count)
    monkeypatch.setattr(gc, "freeze", lambda: calls.append("freeze"))
    monkeypatch.setattr(gc, "unfreeze", lambda: calls.append("unfreeze"))
    for _ in range(2):
        with no_collections():
            pass
    assert calls == (["count"] if frozen else 2 * ["count", "freeze", "unfreeze"])
