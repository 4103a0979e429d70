"""Whether a run is working on an output folder, which of its jobs have started, and where a job's log lies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

LOCK = ".lock"


def mark_active(lock: IO[str]) -> None:
    """Note when the run that holds the `lock` began."""
    with suppress(OSError):
        os.utime(lock.fileno())


def active_since(root: Path) -> float | None:
    """When the run that is working on the output folder began (seconds since 1970); None where none is."""
    try:
        with (root / LOCK).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return os.fstat(file.fileno()).st_mtime
    except OSError:
        pass
    return None


def started_since(folder: Path, since: float) -> bool:
    """Whether an attempt at the job in `folder` has written to its log since then."""
    return any(time >= since for time, _ in _logs(folder))


def last_log(folder: Path) -> Path | None:
    """The log of the last attempt at the job in `folder`; None where there is none."""
    return max(_logs(folder), default=(0.0, None))[1]


def _logs(folder: Path) -> Iterator[tuple[float, Path]]:
    for path in (folder / "log").glob("attempt-*.log"):
        with suppress(OSError):
            yield path.stat().st_mtime, path
