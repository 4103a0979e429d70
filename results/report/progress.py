"""How a run goes on, as a page asks for it every other second: cells done, what is training, what the devices do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..activity import active_since, started_since
from ..gates import NO_PRIOR
from ..halving import STOPPED
from ..rows import Row
from ..store import RECORD, Store
from .detail import CURVE, columns_of, read_curve

_SHOWN = 12  # trainings at a time
_POINTS = 60  # of a curve beside its name


def fingerprint(dirs: Sequence[Path]) -> tuple[int, int]:
    """How many records and suites the folders hold, and when the last was written: another with every change."""
    times = [time for directory in dirs for time in _times(directory)]
    return len(times), max(times, default=0)


def _times(root: Path) -> Iterator[int]:
    for pattern in (f"jobs/*/*/{RECORD}", "suites/*.json"):
        for path in root.glob(pattern):
            with suppress(OSError):
                yield path.stat().st_mtime_ns


def progress(dirs: Sequence[Path], rows: Sequence[Row]) -> dict[str, Any]:
    """Plain data: `cells`, `finished` (also those that a gate leaves without a prior, that were stopped early or
    cancelled) and `failed` of the rows, their `jobs` and how many have a record (`recorded`), whether a run is
    `active`, the jobs in `training` with step, loss and rate, and the `devices`."""
    since = {directory: active_since(directory) for directory in dirs}
    jobs = {(str(row["source"]), job) for row in rows for job in row.jobs.values()}
    statuses = [str(row["status"]).partition(":")[0] for row in rows]
    stopped = sum(status.startswith(STOPPED) for status in statuses)
    return {
        "cells": len(rows),
        "finished": statuses.count("finished") + statuses.count(NO_PRIOR) + statuses.count("cancelled") + stopped,
        "failed": statuses.count("failed"),
        "jobs": len(jobs),
        "recorded": sum(_has_record(Path(source), job) for source, job in jobs),
        "active": any(start is not None for start in since.values()),
        "training": list(_training(rows, since))[:_SHOWN],
        "devices": devices(),
    }


def _has_record(root: Path, job: str) -> bool:
    return (Store(root).job_folder(*job.split("/")) / RECORD).exists()


def _training(rows: Sequence[Row], since: Mapping[Path, float | None]) -> Iterator[dict[str, Any]]:
    starts = {str(directory): start for directory, start in since.items()}
    seen: set[Path] = set()
    for row in rows:
        start = starts.get(row["source"])
        if start is None or row["status"] == "finished":
            continue
        for kind, job in row.jobs.items():
            folder = Store(row["source"]).job_folder(*job.split("/"))
            if folder in seen or (folder / RECORD).exists() or not (folder / CURVE).exists():
                continue
            seen.add(folder)
            if started_since(folder, start) and (lines := read_curve(folder)):
                yield {"title": f"{kind} {row['cell']}", "of": _steps(folder)} | _last(lines)


def _last(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    last = lines[-1]
    losses = columns_of(lines).get("loss", [])
    return {
        "step": last.get("step"),
        "loss": last.get("loss"),
        "rate": last.get("samples_per_second"),
        "losses": losses[:: max(1, len(losses) // _POINTS)],
    }


def _steps(folder: Path) -> int | None:
    """How many steps the job trains for, as its configuration says."""
    with suppress(OSError, ValueError):
        return _found(json.loads((folder / "config.json").read_bytes()))
    return None


def _found(value: Any) -> int | None:
    if not isinstance(value, dict):
        return None
    training = value.get("training")
    if isinstance(training, dict) and isinstance(training.get("steps"), int):
        return int(training["steps"])
    return next((steps for item in value.values() if (steps := _found(item)) is not None), None)


def devices() -> list[dict[str, Any]]:
    """The CPU's load as a share of its cores, and of each NVIDIA GPU the use and the MiB of memory in use."""
    result: list[dict[str, Any]] = []
    with suppress(OSError):
        result.append({"name": "CPU", "use": min(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)), "memory": None})
    tool = shutil.which("nvidia-smi")
    if tool is not None:
        query = ["--query-gpu=name,utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
        with suppress(OSError, subprocess.SubprocessError):
            answer = subprocess.run([tool, *query], capture_output=True, text=True, timeout=5, check=True).stdout
            result += [gpu for line in answer.splitlines() if (gpu := _gpu(line)) is not None]
    return result


def _gpu(line: str) -> dict[str, Any] | None:
    parts = [part.strip() for part in line.rsplit(",", 2)]
    if len(parts) != 3 or not parts[1].isdecimal():
        return None  # a part of a GPU, of which no use is known
    return {"name": parts[0], "use": int(parts[1]) / 100, "memory": int(parts[2]) if parts[2].isdecimal() else None}
