"""Processes as a test sees them, each of which may end between two looks."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path


def status(pid: int) -> tuple[str, int] | None:
    """The state of a process, by its letter, and its parent; None where there is none."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[:2]
    except OSError:
        return None
    return state, int(parent)


def alive(pid: int) -> bool:
    """Whether it runs or may; one that has ended and whose parent has not asked for it does not."""
    found = status(pid)
    return found is not None and found[0] not in "ZX"


def parent(pid: int) -> int:
    """Whose child it is."""
    found = status(pid)
    assert found is not None, f"process {pid} is gone"
    return found[1]


def children(pid: int) -> list[int]:
    """Those alive that it has started."""
    return _children().get(pid, [])


def family(pid: int) -> list[int]:
    """The process and all alive below it."""
    all_children, members = _children(), [pid]
    for member in members:
        members += all_children.get(member, [])
    return members


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        process = int(folder.name)
        known = status(process)
        if known is not None and known[0] not in "ZX":
            found.setdefault(known[1], []).append(process)
    return found


def await_end(pids: Iterable[int], *, seconds: float = 20.0) -> None:
    """Fail where one of them is alive after that time: on a busy machine even a killed one takes a moment."""
    pids, deadline = list(pids), time.monotonic() + seconds
    while left := [pid for pid in pids if alive(pid)]:
        assert time.monotonic() < deadline, f"still alive: {left}"
        time.sleep(0.02)
