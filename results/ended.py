"""How a folder's jobs have ended, as its index (`results.index`) remembers it and while their records are the same.

Apart from the index, and without what reads records, so that a status of 100,000 takes a second: hence the columns.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import eq
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from .record_file import RECORD
from .record_file import SCHEMA as RECORD_SCHEMA

INDEX = ".index.jsonl"
SCHEMA = 3

VERSIONS = {"schema": [SCHEMA, RECORD_SCHEMA]}  # of the index: in its first line
_CHUNK = 1 << 20  # bytes that are read at once: lines are long

# What tells whether a file is the one that was read: its times of change, size and inode.
Stamp = tuple[int, int, int, int]


class State(NamedTuple):
    """How a job ended: "finished" or "failed", or "damaged" or "newer" where its record can't be read, damaged or of a
    newer version; with the cause; the `seconds` it took."""

    status: str
    seconds: float
    cause: str


UNREAD = State("unread", 0.0, "")  # of a record that is not the one that was read, until it is


@dataclass(kw_only=True)
class Ended:
    """Jobs ("kind/key") that have a record: of each its file's stamp, and its `State` in three columns."""

    jobs: list[str] = field(default_factory=list)
    stamps: list[Stamp] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)

    def add(self, job: str, stamp: Stamp, state: State) -> None:
        """One more."""
        self.jobs.append(job)
        self.stamps.append(stamp)
        self.statuses.append(state.status)
        self.seconds.append(state.seconds)
        self.causes.append(state.cause)

    def set(self, place: int, state: State) -> None:
        """The state of the job at that place is another."""
        self.statuses[place], self.seconds[place], self.causes[place] = state

    def row(self, place: int) -> tuple[str, Stamp, State]:
        """The job at that place, with its stamp and state."""
        state = State(self.statuses[place], self.seconds[place], self.causes[place])
        return self.jobs[place], self.stamps[place], state

    def places(self) -> dict[str, int]:
        """By job where it stands."""
        return dict(zip(self.jobs, range(len(self.jobs)), strict=True))

    def states(self) -> dict[str, State]:
        """By job how it ended."""
        return dict(zip(self.jobs, map(State, self.statuses, self.seconds, self.causes), strict=True))

    def to_line(self) -> bytes:
        """A line of the index."""
        stamps = [list(column) for column in zip(*self.stamps, strict=True)] or [[], [], [], []]
        return to_json([self.jobs, *stamps, self.statuses, self.seconds, self.causes]) + b"\n"

    @classmethod
    def from_line(cls, line: bytes, digest: str) -> Ended:
        """The inverse. Raises ValueError and TypeError for a line that is damaged or has another `digest`."""
        jobs, mtimes, ctimes, sizes, inodes, statuses, seconds, causes = columns = parsed(line, digest)
        if len({len(column) for column in columns}) != 1:
            raise ValueError("columns of several lengths")
        stamps = list(zip(mtimes, ctimes, sizes, inodes, strict=True))
        return cls(jobs=jobs, stamps=stamps, statuses=statuses, seconds=seconds, causes=causes)


def remembered(root: Path) -> Ended:
    """What the folder's index says of how jobs ended; nothing where there is none of this version in good order."""
    try:
        with (root / INDEX).open("rb", buffering=_CHUNK) as file:
            facts = from_json(file.readline())
            if any(facts.get(name) != value for name, value in VERSIONS.items()):
                return Ended()
            return Ended.from_line(file.readline(), facts["sha256"][0])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return Ended()


def look(
    root: Path, jobs: Iterable[str], known: Ended, *, same: Mapping[str, Stamp] | None = None
) -> tuple[Ended, list[int]]:
    """Those of the `jobs` that have a record, in their order, and the places of those of them that are `UNREAD`.

    The others ended as is `known`: those whose files' stamps are the same or, where it is given, those that `same` has
    with their stamps.
    """
    present, stamps = _stamps(root, jobs, same or {})
    is_known = all(map(eq, stamps, known.stamps)) if same is None else len(same) == len(present)
    if is_known and present == known.jobs:
        return known, []  # the usual case, at once
    places = list(map(known.places().get, present))
    fresh = [
        i
        for i, (job, stamp, place) in enumerate(zip(present, stamps, places, strict=True))
        if place is None or (known.stamps[place] != stamp if same is None else job not in same)
    ]
    for i in fresh:
        places[i] = None
    return Ended(
        jobs=present,
        stamps=stamps,
        statuses=[UNREAD.status if place is None else known.statuses[place] for place in places],
        seconds=[UNREAD.seconds if place is None else known.seconds[place] for place in places],
        causes=[UNREAD.cause if place is None else known.causes[place] for place in places],
    ), fresh


def _stamps(root: Path, jobs: Iterable[str], same: Mapping[str, Stamp]) -> tuple[list[str], list[Stamp]]:
    """The jobs that have a record's file, and its stamp, which is not looked at of those that `same` has."""
    present: list[str] = []
    stamps: list[Stamp] = []
    stat = os.stat
    try:
        folder = os.open(root / "jobs", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return present, stamps
    try:
        for job in jobs:
            if job in same:
                present.append(job)
                stamps.append(same[job])
                continue
            try:
                file = stat(f"{job}/{RECORD}", dir_fd=folder)
            except (OSError, ValueError):  # ValueError: a key that no folder can be called by
                continue
            present.append(job)
            stamps.append((file.st_mtime_ns, file.st_ctime_ns, file.st_size, file.st_ino))
    finally:
        os.close(folder)
    return present, stamps


def parsed(line: bytes, digest: str) -> Any:
    """A line of the index as data. Raises ValueError for one with another digest."""
    if hashlib.sha256(line).hexdigest() != digest:
        raise ValueError("damaged")
    return from_json(line, cache_strings="keys")  # other texts hardly stand there twice
