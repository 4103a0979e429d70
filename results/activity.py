"""Who is working on an output folder, which of its jobs have started, and where a job's log lies.

A run, or several `latentbench work`, hold the file `LOCK`. Each of the latter also has, below `WORKERS`, a sign of life
(`NAME.beat`, see `bench.engines.heartbeat`) and what it runs (`NAME.json`), which other machines can read.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

LOCK = ".lock"
WORKERS = "workers"
BEAT, STATE, NEW_STATE = ".beat", ".json", ".new"

# By the disk's clock, not the reader's, and only to be told: who takes over a job measures for itself
# (`bench.engines.heartbeat`).
_SILENT_SECONDS = 180.0
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def mark_active(lock: IO[str]) -> None:
    """Note when the run that holds the `lock` began."""
    with suppress(OSError):
        os.utime(lock.fileno())


def active_since(root: Path) -> float | None:
    """When the run that is working on the output folder began (seconds since 1970); None where none is.

    Of several on one folder, the first.
    """
    if members := active(root):
        return min(member.since for member in members)
    try:
        with (root / LOCK).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return os.fstat(file.fileno()).st_mtime
    except OSError:
        pass
    return None


@dataclass(frozen=True, kw_only=True)
class Member:
    """One of the processes that work on a folder together: its `host` and `pid`, `since` when (seconds since 1970),
    its `devices` and how many jobs fit on each, and what it is `running`: {job: {"device", "since"}}."""

    name: str
    host: str = ""
    pid: int = 0
    since: float = 0.0
    devices: dict[str, int] = field(default_factory=dict)
    running: dict[str, Any] = field(default_factory=dict)


def disk_time(folder: Path) -> float | None:
    """The time (seconds since 1970) by the clock that gives the folder's files theirs, which on a network disk is
    another machine's; None where nothing can be written."""
    path = folder / f".clock.{secrets.token_hex(8)}"
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
    try:
        return os.fstat(file).st_mtime
    finally:
        os.close(file)
        with suppress(OSError):
            path.unlink(missing_ok=True)


def active(root: Path, *, now: float | None = None) -> list[Member]:
    """Those that have given a sign of life, by name. `now` is the disk's time, unless asked for here; where that is not
    known this machine's clock counts."""
    members = []
    beats = sorted((root / WORKERS).glob(f"*{BEAT}"))
    if beats and now is None:
        now = disk_time(root / WORKERS) or time.time()
    for path in beats:
        with suppress(OSError, ValueError, TypeError):
            if now is not None and now - path.stat().st_mtime < _SILENT_SECONDS and not ended_here(path):
                members.append(Member(name=path.stem, **json.loads(path.with_suffix(STATE).read_bytes())))
    return members


def this_boot() -> str:
    """What tells this boot of this machine from any other; "" where that is not known."""
    with suppress(OSError):
        return _BOOT.read_text().strip()
    return ""


def ended_here(beat: Path) -> bool:
    """Whether the process of that sign of life ran on this machine, and neither it nor a worker of it is left.

    They hold a lock on the file, which states this boot once it is held.
    """
    boot = this_boot()
    try:
        facts = json.loads(beat.read_bytes().partition(b"\n")[2])
        if not boot or facts.get("boot") != boot:
            return False
        with beat.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (OSError, ValueError, AttributeError):
        return False
    return True


def started_since(folder: Path, since: float) -> bool:
    """Whether an attempt at the job in `folder` has written to its log since then."""
    return any(time >= since for time, _ in _logs(folder))


def logs(folder: Path) -> list[Path]:
    """The logs of all attempts at the job in `folder`, the oldest first."""
    return [path for _, path in sorted(_logs(folder))]


def last_log(folder: Path) -> Path | None:
    """The log of the last attempt at the job in `folder`; None where there is none."""
    return max(_logs(folder), default=(0.0, None))[1]


def last_line(log: Path | None) -> str:
    """What a log says last, which after a failure is why."""
    lines = []
    with suppress(OSError):
        if log is not None:
            lines = log.read_text(errors="replace").split("\n")[-50:]
    return next((line.strip() for line in reversed(lines) if line.strip()), "its log does not say why")


def _logs(folder: Path) -> Iterator[tuple[float, Path]]:
    for path in (folder / "log").glob("attempt-*.log"):
        with suppress(OSError):
            yield path.stat().st_mtime, path
