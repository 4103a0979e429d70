"""Records and tensors behind a row, read once and without complaint where a job has not finished."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from ..gallery import read_tensors
from ..record import Record
from ..store import Store


def record_of(store: Store, job: str | None) -> Record | None:
    """The finished record of a job ("<kind>/<key>"); None without one."""
    return None if job is None else _load(str(store.root), *job.split("/"))


def tensors(store: Store, job: str | None, name: str) -> Mapping[str, np.ndarray]:
    """The tensors in a file that the job left; {} where it left none. Raises UserError for a damaged one."""
    path = None if job is None else store.job_folder(*job.split("/")) / name
    if path is None or not os.path.exists(path):  # most jobs: their records need not be read for it
        return {}
    record = record_of(store, job)
    return {} if record is None or name not in record.artifacts else _read(path)


def run_of(store: Store, job: str) -> Mapping[str, Any] | None:
    """The `run` of the finished record of a job, which is remembered of every record; None without one."""
    place = (str(store.root), *job.split("/"))
    if place not in _runs:
        _load(*place)
    return _runs[place]


_runs: dict[tuple[str, ...], Mapping[str, Any] | None] = {}


@lru_cache(maxsize=256)
def _load(root: str, kind: str, key: str) -> Record | None:
    record = Store(root).load(kind, key)
    _runs[root, kind, key] = None if record is None else record.run
    return record


_read = lru_cache(maxsize=4)(read_tensors)


def forget() -> None:
    """Read everything anew: while a run goes on, what was not there may have come."""
    _load.cache_clear()
    _runs.clear()
    _read.cache_clear()
