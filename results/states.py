"""How many jobs of a large folder have ended, and how: what a status needs, without reading every record each time.

OUT/.states.json remembers, for a record's size and time of last change, its status. It may be removed at any time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json

from .errors import UserError
from .record import InvalidRecord
from .store import RECORD, Store, atomic_write

STATES = ".states.json"
_SCHEMA = 1
_WORTH = 200  # records that are new, from which on remembering is worth its writing
_FIELDS = 6


@dataclass(frozen=True, kw_only=True)
class State:
    """How a job ended: "finished", "failed" with its cause, or "damaged"; the `seconds` it took, and `ended` when
    (seconds since 1970)."""

    status: str
    seconds: float
    cause: str
    ended: float


def states(store: Store, jobs: Iterable[str]) -> dict[str, State]:
    """The states of those jobs ("kind/key") that have a record; whether their artifacts are there is not looked at."""
    known = _remembered(store)
    facts: dict[str, list[Any]] = {}
    fresh = 0
    prefix = f"{os.fspath(store.root)}/jobs/"
    for job in jobs:
        try:
            entry = os.stat(f"{prefix}{job}/{RECORD}")
        except OSError:
            continue
        stamp = [entry.st_mtime_ns, entry.st_size, entry.st_ino]
        fact = known.get(job)
        if fact is None or fact[:3] != stamp:
            fact, fresh = [*stamp, *_read(store, job)], fresh + 1
        facts[job] = fact
    if fresh > _WORTH:
        with suppress(UserError):  # a folder that is not ours to write to
            atomic_write(store.root / STATES, to_json({"schema": _SCHEMA, "jobs": known | facts}))
    return {
        job: State(status=status, seconds=seconds, cause=cause, ended=stamp / 1e9)
        for job, (stamp, _, _, status, seconds, cause) in facts.items()
    }


def _read(store: Store, job: str) -> tuple[str, float, str]:
    kind, _, key = job.partition("/")
    try:
        record = store.read(kind, key)
    except InvalidRecord as error:
        return "damaged", 0.0, str(error)
    seconds = record.run.get("seconds")
    return record.status, float(seconds) if isinstance(seconds, int | float) else 0.0, str(record.error or "")


def _remembered(store: Store) -> dict[str, list[Any]]:
    try:
        data = from_json((store.root / STATES).read_bytes())
        if data["schema"] != _SCHEMA:
            return {}
        return {job: fact for job, fact in data["jobs"].items() if len(fact) == _FIELDS}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
