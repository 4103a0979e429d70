"""One flat row per cell of the suites in one or more output folders: what every table is made from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UserError
from .record import KINDS, Failure, Record
from .store import Store

if TYPE_CHECKING:
    import pandas

Row = dict[str, Any]

RATE = ("tsr", "tsr_input", "elements", "positions", "bits_per_sample", "bits_per_element", "bitrate")
SPEC = ("downsample", "channels", *RATE)
COST = (
    "parameters",
    "prior_parameters",
    "flops",
    "tokenizer_flops",
    "prior_flops",
    "seconds",
    "train_seconds",
    "prior_seconds",
    "sampling_per_second",
    "peak_memory_bytes",
)
IDENTITY = ("source", "suite", "cell", "dataset", "modality", "recipe", "label", "seed", "status")
BASE = (*IDENTITY, *SPEC, "discrete", "topology", "prior", "sampler", *COST)
# The columns that are no single value; they close the row.
NESTED = ("axes", "protocols", "details", "jobs")

# Axes that every cell has a value of, given or solved for.
_RESOLVED = ("downsample", "channels")

# Jobs that all cells of a data set share; their time is no cell's own.
_SHARED = ("data", "encoder", "reference")


def rows(dirs: Iterable[Store | Path | str]) -> list[Row]:
    """One row per cell of every suite found in `dirs`, in the suites' order.

    A row has the columns of `BASE`, one per axis (dots become underscores; `axis_<name>` where the name is a base
    column's), every metric as `<name>` and `<name>_se`, and at its end `axes` (by their own names), `protocols`
    {metric: protocol}, `details` {metric: {direction, unit, n, missing, interval, role, shown}} and `jobs`.
    `status` is "finished", "failed: <cause>" or "missing"; what a failed or unfinished cell did measure is there.

    Raises UserError for a folder that does not exist, holds no suite, or holds a damaged suite file.
    """
    result: list[Row] = []
    for directory in dirs:
        store = directory if isinstance(directory, Store) else Store(directory)
        if not store.root.is_dir():
            raise UserError(f"{store.root}: no such folder; give the --out folder of a run")
        suites = store.read_suites()
        if not suites:
            raise UserError(f"{store.root}: no suite was run here (no suites/*.json); give the --out folder of a run")
        records: dict[str, Record | None] = {}
        for suite in suites:
            for cell in suite["cells"]:
                for job in cell["jobs"].values():
                    if job not in records:
                        records[job] = _record(store, job)
                result.append(_row(str(store.root), suite["suite"], cell, records))
    return _without_repeats(result)


def frame(table: Sequence[Row]) -> pandas.DataFrame:
    """The rows as a pandas frame, without the nested columns (`axes`, `protocols`, `details`, `jobs`)."""
    import pandas

    names = column_names(table)
    return pandas.DataFrame([{name: row.get(name) for name in names} for row in table], columns=names)


def column_names(table: Sequence[Row]) -> list[str]:
    """The flat columns of the rows together: identity, axes, spec, cost, then metrics; in one stable order."""
    seen = dict.fromkeys(name for row in table for name in row if name not in NESTED)
    metrics = set(metric_names(table))
    measured = metrics | {f"{name}_se" for name in metrics}
    axes = [name for name in seen if name not in BASE and name not in measured]
    tail = [name for name in seen if name in measured]
    return [*IDENTITY, *axes, *BASE[len(IDENTITY) :], *tail] if seen else list(BASE)


def metric_names(table: Iterable[Row]) -> list[str]:
    """The metrics of the rows together, in the order in which they first appear."""
    return list(dict.fromkeys(name for row in table for name in row["details"]))


def axis_column(axis: str) -> str:
    """The column of a grid axis: `train.steps` is `train_steps`; `tsr` is `axis_tsr`, since `tsr` is the exact one."""
    name = axis.replace(".", "_").replace("-", "_")
    if name in _RESOLVED:
        return name
    return f"axis_{name}" if name in BASE or name in NESTED else name


def _record(store: Store, job: str) -> Record | None:
    kind, key = job.split("/")
    record = store.load_any(kind, key)
    # A finished record whose artifacts are gone is no result: the next run does the job again.
    return record if record is None or record.status == "failed" else store.load(kind, key)


def _row(source: str, suite: str, cell: dict[str, Any], records: dict[str, Record | None]) -> Row:
    jobs = sorted(set(cell["jobs"].values()), key=_order)
    known = [record for job in jobs if (record := records[job]) is not None]
    finished = [record for record in known if record.status == "finished"]
    own = [record for record in finished if record.kind not in _SHARED]
    fitted = [record for record in own if record.kind in ("tokenizer", "prior")]
    axes = cell["axes"]
    row: Row = {"source": source, "suite": suite, **{name: cell[name] for name in IDENTITY[2:-1]}}
    row["label"] = cell["label"] or cell["recipe"]
    row["status"] = _status(jobs, known)
    named = {axis_column(axis): value for axis, value in axes.items()}
    row |= {name: value for name, value in named.items() if name not in _RESOLVED}
    row |= {name: cell.get(name, named.get(name)) for name in (*SPEC, "discrete", "topology")}
    trained = next((str(r.config["prior"]) for r in finished if r.kind == "prior" and "prior" in r.config), None)
    row["prior"] = trained or cell.get("prior")
    row["sampler"] = next((str(r.extra["sampler"]) for r in finished if "sampler" in r.extra), None)
    row["parameters"] = _total([r.extra.get("parameters") for r in finished if r.kind == "tokenizer"])
    row["prior_parameters"] = _total([r.extra.get("parameters") for r in finished if r.kind == "prior"])
    row["flops"] = _total([r.extra.get("flops") for r in own])
    row["tokenizer_flops"] = _total([r.extra.get("flops") for r in own if r.kind == "tokenizer"])
    row["prior_flops"] = _total([r.extra.get("flops") for r in own if r.kind == "prior"])
    row["seconds"] = _total([r.run.get("seconds") for r in own])
    row["train_seconds"] = _total([r.run.get("seconds") for r in fitted])
    row["prior_seconds"] = _total([r.run.get("train_seconds") for r in own if r.kind == "prior"])
    row["sampling_per_second"] = _total([r.run.get("samples_per_second") for r in own if r.kind == "generation"])
    peaks = [p for r in own if isinstance(p := r.run.get("peak_memory_bytes"), int | float)]
    row["peak_memory_bytes"] = max(peaks, default=None)
    protocols: dict[str, str] = {}
    details: dict[str, Any] = {}
    for record in finished:
        for metric in record.metrics:
            # Two jobs' metrics of one name stay apart, and none hides a column of the row.
            name = (
                metric.name if metric.name not in row and metric.name not in NESTED else f"{record.kind}_{metric.name}"
            )
            row[name], row[f"{name}_se"] = metric.value, metric.se
            protocols[name] = metric.protocol
            details[name] = {
                "direction": metric.direction,
                "unit": metric.unit,
                "n": metric.n,
                "missing": metric.missing,
                "interval": None if metric.interval is None else list(metric.interval),
                "role": metric.role,
                "shown": metric.shown,
            }
    return {**row, "axes": dict(axes), "protocols": protocols, "details": details, "jobs": dict(cell["jobs"])}


def _order(job: str) -> tuple[int, str]:
    kind = job.split("/")[0]
    return (KINDS.index(kind) if kind in KINDS else len(KINDS), job)


def _status(jobs: Sequence[str], known: Sequence[Record]) -> str:
    for record in known:
        if record.status == "failed":
            return f"failed: {record.kind}: {record.error or Failure(type='Error', message='')}"
    return "finished" if len(known) == len(jobs) and jobs else "missing"


def _total(values: Sequence[Any]) -> float | None:
    numbers = [value for value in values if isinstance(value, int | float)]
    return sum(numbers) if numbers else None


def _without_repeats(table: list[Row]) -> list[Row]:
    """The same cell with the same jobs read from two folders is one row; a finished one goes before another."""
    kept: dict[tuple[Any, ...], Row] = {}
    for row in table:
        key = (row["suite"], row["cell"], tuple(sorted(row["jobs"].items())))
        if key not in kept or (row["status"] == "finished" and kept[key]["status"] != "finished"):
            kept[key] = row
    return list(kept.values())
