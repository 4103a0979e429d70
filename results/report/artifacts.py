"""Records and tensors behind a row, read once and without complaint where a job has not finished."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from ..gallery import read_tensors
from ..record import Record
from ..store import Store


def record_of(store: Store, job: str | None) -> Record | None:
    """The finished record of a job ("<kind>/<key>"); None without one."""
    return None if job is None else _load(str(store.root), *job.split("/"))


def tensors(store: Store, job: str | None, name: str) -> Mapping[str, np.ndarray]:
    """The tensors in a file that the job left; {} where it left none. Raises UserError for a damaged one."""
    record = record_of(store, job)
    if record is None or name not in record.artifacts:
        return {}
    return _read(store.job_folder(record.kind, record.key) / name)


@lru_cache(maxsize=256)
def _load(root: str, kind: str, key: str) -> Record | None:
    return Store(root).load(kind, key)


_read = lru_cache(maxsize=4)(read_tensors)


def forget() -> None:
    """Read everything anew: while a run goes on, what was not there may have come."""
    _load.cache_clear()
    _read.cache_clear()
