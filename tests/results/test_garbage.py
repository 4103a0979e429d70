"""Python's search for garbage stops and goes on."""

from __future__ import annotations

import gc
import os
import signal
import time
from typing import Any

import numpy as np
import pytest

from latentbench.results import garbage
from latentbench.results.garbage import keep_what_forks_inherit, no_collections


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


class Threaded:
    """As an object that waits for its threads: at its end in a process that is not its own, all is over."""

    def __init__(self) -> None:
        self.own, self.circle = os.getpid(), self

    def __del__(self) -> None:
        if os.getpid() != self.own:
            os._exit(9)


def test_a_fork_does_not_wait_for_the_threads_of_a_scaler() -> None:
    av = pytest.importorskip("av")
    keep_what_forks_inherit()
    gc.disable()
    try:
        frames: list[Any] = [av.VideoFrame.from_ndarray(np.zeros((480, 640, 3), np.uint8), format="rgb24")]
        frames.append(frames[0].reformat(320, 240, "yuv420p"))
        frames.append(frames)  # a circle
        del frames
        pid = os.fork()
        if not pid:
            gc.collect()
            os._exit(7)
    finally:
        gc.enable()
    deadline = time.monotonic() + 20
    while not (ended := os.waitpid(pid, os.WNOHANG))[0] and time.monotonic() < deadline:
        time.sleep(0.02)
    if not ended[0]:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert ended[0] == pid
    assert os.waitstatus_to_exitcode(ended[1]) == 7


def test_a_fork_frees_nothing_of_before_in_search_of_garbage() -> None:
    keep_what_forks_inherit()
    gc.disable()
    try:
        Threaded()  # garbage at once, and found by nobody yet
        pid = os.fork()
        if not pid:
            made = [Threaded()]
            made.clear()
            gc.collect()
            os._exit(7 if gc.get_freeze_count() else 8)
    finally:
        gc.enable()
    gc.collect()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
