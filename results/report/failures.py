"""What failed, once per job: its cause, the cells that lack it, the end of its log, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from ..rows import Row
from ..store import Store
from .detail import log_tail

_MOST = 200  # failures with their logs; a report of ten thousand failures helps nobody


def failures(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Every failed job with its cells, in the rows' order."""
    by_job: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        if not row.failed_job:
            continue
        place = (row["source"], row.failed_job)
        if place not in by_job and len(by_job) < _MOST:
            by_job[place] = _failure(row)
        if place in by_job:
            by_job[place]["cells"].append(row["cell"])
    return list(by_job.values())


def _failure(row: Row) -> dict[str, Any]:
    store = Store(row["source"])
    kind, key = row.failed_job.split("/")
    record = store.load_any(kind, key)
    error = record.error if record is not None else None
    path, text = log_tail(store.job_folder(kind, key))
    return {
        "job": row.failed_job,
        "kind": kind,
        "suite": row["suite"],
        "source": row["source"],
        "type": error.type if error is not None else "Error",
        "message": error.message if error is not None else str(row["status"]),
        "where": error.where if error is not None else "",
        "host": str(record.run.get("host", "")) if record is not None else "",
        "device": str(record.run.get("device", "")) if record is not None else "",
        "log": path,
        "tail": text,
        "again": f"latentbench run SUITE --out {shlex.quote(row['source'])}",
        "cells": [],
    }
