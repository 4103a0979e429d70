"""A tokenizer's own page: what was stored of it, how it was trained, each metric by sample, cost and provenance."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..activity import last_log
from ..groups import Group
from ..record import Record
from ..rows import Row
from ..samples import VALUES, read_samples
from ..store import Store
from .artifacts import record_of
from .latents import Save, latents
from .media import media

CURVE = "curve.jsonl"

_CURVE_POINTS = 200
_COMMIT = 12  # characters of a hash that are shown
_BINS = 32
_ENDS = 8  # worst and best samples that are named


def detail(group: Group, save: Save, *, share: float = 1.0) -> dict[str, Any]:
    """The page of one group. Pictures and sounds are those of its first seed that stored any, by `save`, `share` of
    the samples; curves and provenance are of every seed. Raises UserError for damaged files."""
    shown: dict[str, Any] = {}
    if share > 0:
        shown = next((stored for row in group.rows if (stored := media(row, save, share=share))), {})
    row = _reconstructed(group)
    maps = next((of_row for row in group.rows if (of_row := latents(row, save))), {}) if share > 0 else {}
    return {
        "media": shown,
        "latents": maps,
        "seeds": [_seed(row) for row in group.rows],
        "samples": _samples(row),
        "points": _points(group, row),
        "marks": list(dict.fromkeys(mark for row in group.rows for mark in row.marks)),
    }


def _reconstructed(group: Group) -> Row:
    """The first seed whose reconstructions have been measured; where there is none, the first."""
    for row in group.rows:
        if record_of(Store(row["source"]), row.jobs.get("reconstruction")) is not None:
            return row
    return group.rows[0]


def _seed(row: Row) -> dict[str, Any]:
    store = Store(row["source"])
    records = {kind: record_of(store, job) for kind, job in row.jobs.items()}
    return {
        "seed": row["seed"],
        "cell": row["cell"],
        "status": row["status"],
        "source": row["source"],
        "curves": {kind: curve for kind in ("tokenizer", "prior") if (curve := _curve(store, row, records, kind))},
        "jobs": [_job(store, kind, job, records[kind]) for kind, job in row.jobs.items()],
        "config": _config(records.get("tokenizer")),
        "prior": _config(records.get("prior")),
        "command": f"latentbench leaderboard {shlex.quote(row['source'])} --format json",
    }


def _config(record: Record | None) -> str:
    return "" if record is None else json.dumps(record.config, indent=2, sort_keys=True, ensure_ascii=False)


def _job(store: Store, kind: str, job: str, record: Record | None) -> dict[str, Any]:
    folder = store.job_folder(*job.split("/"))
    plain: dict[str, Any] = {"kind": kind, "key": job.partition("/")[2], "folder": str(folder)}
    if record is None:
        return plain
    run = record.run
    plain |= {
        name: run[name] for name in ("seconds", "device", "host", "started", "finished", "attempt") if name in run
    }
    peak = run.get("peak_memory_bytes")
    plain["memory"] = round(peak / 2**20) if isinstance(peak, int | float) else None
    plain["versions"] = versions_of(run)
    plain["digests"] = dict(record.digests)
    plain["bytes"] = sum(record.artifacts.values())
    return plain


def versions_of(run: Mapping[str, Any]) -> list[str]:
    """The packages that a job was done with, and of ours the commit where it is known."""
    versions = sorted(dict(run.get("versions", {})).items())
    commit = str(run.get("commit", ""))
    short = f"{commit[:_COMMIT]}{'-dirty' if commit.endswith('-dirty') else ''}"
    return [f"{name} {number}{f' ({short})' if commit and name == 'latentbench' else ''}" for name, number in versions]


def _curve(store: Store, row: Row, records: Mapping[str, Record | None], kind: str) -> dict[str, list[float | None]]:
    """The training's losses by step, a list per name; of a job that is still training, what it has logged."""
    record, job = records.get(kind), row.jobs.get(kind)
    if job is None:
        return {}
    lines = record.extra.get("curve", []) if record is not None else read_curve(store.job_folder(*job.split("/")))
    return columns_of([line for line in lines if isinstance(line, dict) and "step" in line])


def read_curve(folder: Path) -> list[dict[str, Any]]:
    """The lines that a job in this folder has logged so far."""
    result: list[dict[str, Any]] = []
    try:
        content = (folder / CURVE).read_bytes()
    except OSError:
        return []
    for line in content.splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue  # the line that is being written
        if isinstance(row, dict):
            result.append(row)
    return result


def columns_of(lines: Sequence[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    """Lines of a training's log as a list per name, thinned to some 200 steps."""
    chosen = lines[:: max(1, math.ceil(len(lines) / _CURVE_POINTS))]
    if lines and chosen[-1] is not lines[-1]:
        chosen = [*chosen, lines[-1]]
    names = dict.fromkeys(name for line in chosen for name in line)
    return {name: [_rounded(line.get(name)) for line in chosen] for name in names}


def _rounded(value: Any) -> float | None:
    return float(f"{value:.5g}") if isinstance(value, int | float) and math.isfinite(value) else None


def _samples(row: Row) -> dict[str, Any]:
    """Each metric by sample: a histogram, and which samples are worst and best; and the values of the first samples,
    which are those that were stored."""
    result: dict[str, Any] = {}
    for name, path in row.files.items():
        metric = row.metrics[name]
        samples = read_samples(path, metric.name, row.jobs.get("data", "")) if path.name == VALUES else None
        if samples is None:
            continue
        every = samples.values
        values = every[np.isfinite(every)]
        if len(values) < 2:
            continue
        counts, edges = np.histogram(values, bins=_BINS)
        order = np.argsort(np.where(np.isfinite(every), every, np.nan), kind="stable")[: len(values)]
        worst, best = order[:_ENDS], order[::-1][:_ENDS]
        if metric.direction == "lower":
            worst, best = best, worst
        result[name] = {
            "n": len(values),
            "counts": counts.tolist(),
            "edges": [_rounded(edge) for edge in edges.tolist()],
            "quartiles": [_rounded(q) for q in np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95)).tolist()],
            "worst": [[int(i), _rounded(every[i])] for i in worst],
            "best": [[int(i), _rounded(every[i])] for i in best],
            "first": [_rounded(value) for value in every[:64].tolist()],
            "directed": metric.direction != "none",
        }
    return result


def _points(group: Group, row: Row) -> list[dict[str, Any]]:
    """The operating points of the tokenizer, in their order: each one's metrics, and seconds per sample of decoding."""
    record = record_of(Store(row["source"]), row.jobs.get("reconstruction"))
    seconds = record.run.get("decode_seconds", {}) if record is not None else {}
    result = []
    for point, one in seconds.items():
        suffix = "" if point == "full" else f"_{point}"
        metrics = {}
        for name in row.metrics:
            base = name.removesuffix(suffix)
            is_point = name.endswith(suffix) and f"{base}{suffix}" in row.metrics and base != name
            if is_point or (point == "full" and _has_points(row, name, seconds)):
                estimate = group.estimate(name)
                if estimate is not None:
                    metrics[base] = [estimate.value, estimate.low, estimate.high]
        result.append({"point": point, "seconds": one, "metrics": metrics})
    return result


def _has_points(row: Row, name: str, points: Mapping[str, Any]) -> bool:
    return any(f"{name}_{point}" in row.metrics for point in points)


def log_tail(folder: Path, *, most: int = 6000) -> tuple[str, str]:
    """The path and the end of the last log of the job in this folder; ("", "") without one."""
    path = last_log(folder)
    if path is None:
        return "", ""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - most))
            return str(path), file.read(most).decode("utf-8", "replace")
    except OSError:
        return str(path), ""
