"""One flat row per cell of the suites in one or more output folders: what every table is made from."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .activity import active_since, started_since
from .board import board_path, metrics_of, read_board
from .costs import COST as COST
from .costs import costs
from .ended import State
from .errors import UserError
from .gates import GATE, HALVING, NO_PRIOR, Gate, reason_of_all
from .halving import why_stopped
from .index import outcomes
from .metric import Metric
from .metrics import NUMBERS, Heads, Measured, Metrics
from .record import Failure, Record, is_cancelled
from .samples import LEFT_OUT, VALUES
from .store import Store, SuiteCell

if TYPE_CHECKING:
    import pandas

RATE = ("tsr", "tsr_input", "elements", "positions", "bits_per_sample", "bits_per_element", "bitrate")
SPEC = ("downsample", "channels", *RATE)
IDENTITY = ("source", "suite", "cell", "dataset", "modality", "recipe", "label", "seed", "status")
BASE = (*IDENTITY, *SPEC, "discrete", "topology", "prior", "sampler", *COST)
# The columns that are no single value; they close the row.
NESTED = ("axes", "protocols", "details", "jobs")

_FACTS = (*SPEC, "discrete", "topology")  # those of a cell itself
_CELL = IDENTITY[2:-1]
_cell = itemgetter(*_CELL)
# Axes that every cell has a value of, given or solved for.
_RESOLVED = ("downsample", "channels")


@dataclass(frozen=True, kw_only=True, eq=False)
class Row(Mapping[str, Any]):
    """One cell, and as a mapping its value by column.

    The columns are those of `BASE`, one per axis (dots become underscores; `axis_<name>` where the name is a base
    column's), `preset` for a row that was made under one, every metric as `<name>` and `<name>_se`, and at the end
    `axes` (by their own names), `protocols` {metric: protocol}, `details` {metric: {direction, unit, n, missing,
    interval, role, shown, compared}} and `jobs`. `status` is "finished", "failed: <job>: <cause>", "cancelled: <job>",
    "running" or "queued" while a run works on the folder, "damaged: <job>: <cause>" or "newer: <job>: <cause>" where a
    record can't be read, damaged or of a newer version, "no prior: <why>" where all else is done and a gate lets no
    prior through, "stopped at rung <k>: <why>" where the training was stopped early, or "missing"; an unfinished cell
    has what it did measure. `data` has the `counts` and `reasons` of the files that the data set was read from, where
    its job has recorded them; `failed_job` is the id of the job whose failure the status tells. `marks` are what an
    adapter's contract job complains of. `files` are those in which jobs kept metrics' values by sample
    (`samples.read_samples`); `left_out` are distances without each group of samples in turn (`samples.pseudovalues`).
    """

    columns: Mapping[str, Any]
    axes: Mapping[str, Any]
    metrics: Metrics
    jobs: Mapping[str, str]
    data: Mapping[str, Any] = field(default_factory=dict)
    marks: tuple[str, ...] = ()
    failed_job: str = ""
    files: Mapping[str, Path] = field(default_factory=dict)
    left_out: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        if name in self.columns:
            return self.columns[name]
        if name in self.metrics.heads:
            return self.metrics.value(name)
        if name.endswith("_se") and name[:-3] in self.metrics:
            return self.metrics[name[:-3]].se
        if name in ("axes", "jobs"):
            return dict(getattr(self, name))
        if name == "protocols":
            return {name: metric.protocol for name, metric in self.metrics.items()}
        if name == "details":
            return {name: _detail(metric) for name, metric in self.metrics.items()}
        raise KeyError(name)

    def get(self, name: str, default: Any = None) -> Any:
        """As of any mapping, but without an exception for each column that is missing: there may be a million."""
        if name in self.columns:
            return self.columns[name]
        if name in self.metrics.heads:
            return self.metrics.value(name)
        try:
            return self[name] if name.endswith("_se") or name in NESTED else default
        except KeyError:
            return default

    def __iter__(self) -> Iterator[str]:
        measured = (column for name in self.metrics for column in (name, f"{name}_se"))
        return iter(dict.fromkeys((*self.columns, *measured, *NESTED)))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _detail(metric: Metric) -> dict[str, Any]:
    facts = {name: getattr(metric, name) for name in ("direction", "unit", "n", "missing", "interval", "role", "shown")}
    facts["compared"] = metric.scope
    return facts | {"interval": None if metric.interval is None else list(metric.interval)}


def rows(dirs: Iterable[Store | Path | str], *, boards: bool = True) -> list[Row]:
    """One row per cell of every suite found in `dirs`, in the suites' order; a `board.json`, or a folder with one, has
    rows too.

    Raises UserError for a folder that does not exist, holds no suite, or holds a damaged suite file or board; also for
    a board unless `boards` are of use.
    """
    result: list[Row] = []
    for directory in dirs:
        store = directory if isinstance(directory, Store) else Store(directory)
        board = board_path(store.root)
        if board is not None:
            if not boards:
                raise UserError(f"{board}: holds numbers alone; give the --out folder of a run")
            result += _of_board(board)
            continue
        if not os.path.isdir(store.root):
            raise UserError(f"{store.root}: no such folder; give the --out folder of a run")
        suites = store.read_suites()
        if not suites:
            raise UserError(f"{store.root}: no suite was run here (no suites/*.json); give the --out folder of a run")
        cells = [(suite["suite"], *one) for suite in suites for one in _with_jobs(suite["cells"], suite["kinds"])]
        needed = dict.fromkeys(chain.from_iterable((*jobs, *cell.get("shared", ())) for _, cell, jobs in cells))
        ended = outcomes(store, needed)
        of_cell = _Rows(store, ended, ended.statuses, ended.unread)
        since = active_since(store.root)
        result += [of_cell.ended(suite, cell, jobs, since) for suite, cell, jobs in cells]
    return _without_repeats(result)


def _of_board(path: Path) -> list[Row]:
    """The rows of a board; their `source` is the board's path and the run's name in it."""
    result = []
    for row in read_board(path)["rows"]:
        columns: dict[str, Any] = {**row["columns"]}
        if lacking := [name for name in BASE if name not in columns]:
            raise UserError(f"{path}: not a board: {columns['cell']} lacks the column {lacking[0]!r}")
        result.append(
            Row(
                columns=columns | {"source": f"{path}:{columns['source']}"},
                axes=row["axes"],
                metrics=Metrics.of(metrics_of(row, path)),
                jobs=row["jobs"],
                data=row["data"],
                marks=tuple(row["marks"]),
                failed_job=row["failed_job"],
                files={name: path.parent / file for name, file in row["files"].items()},
                left_out=row["left_out"],
            )
        )
    return result


def frame(table: Sequence[Row]) -> pandas.DataFrame:
    """The rows as a pandas frame, without the nested columns (`axes`, `protocols`, `details`, `jobs`)."""
    import pandas

    names = column_names(table)
    return pandas.DataFrame([{name: row.get(name) for name in names} for row in table], columns=names)


def column_names(table: Sequence[Row]) -> list[str]:
    """The flat columns of the rows together: identity, axes, spec, cost, then metrics; in one stable order."""
    flat: dict[str, Any] = {}
    for row in table:
        flat |= row.columns  # a million of them take no time so
    measured = dict.fromkeys(name for metric in metric_names(table) for name in (metric, f"{metric}_se"))
    axes = [name for name in flat if name not in BASE and name not in measured]
    return [*IDENTITY, *axes, *BASE[len(IDENTITY) :], *measured] if table else list(BASE)


def metric_names(table: Iterable[Row]) -> list[str]:
    """The metrics of the rows together, in the order in which they first appear."""
    names: dict[str, Any] = {}
    for heads in {id(row.metrics.heads): row.metrics.heads for row in table}.values():
        names |= heads
    return [*names]


@cache
def axis_column(axis: str) -> str:
    """The column of a grid axis: `train.steps` is `train_steps`; `tsr` is `axis_tsr`, since `tsr` is the exact one."""
    name = axis.replace(".", "_").replace("-", "_")
    if name in _RESOLVED:
        return name
    return f"axis_{name}" if name in BASE or name in NESTED else name


def _with_jobs(cells: Iterable[SuiteCell], kinds: Sequence[str]) -> Iterator[tuple[SuiteCell, list[str]]]:
    """Each cell with its jobs in the order of their kinds, which is that of dependence; others after them, by name."""
    order = {kind: place for place, kind in enumerate(kinds)}

    def place_of(job: str) -> tuple[int, str]:
        return order.get(job.partition("/")[0], len(order)), job

    for cell in cells:
        yield cell, sorted({*cell["jobs"].values()}, key=place_of)


def cell_row(store: Store, suite: str, cell: SuiteCell, kinds: Sequence[str]) -> Row:
    """The row of one cell, from the records that the jobs which it names have now, artifacts unchecked; its status is
    left open. `kinds` are in the order in which they depend on each other.
    """
    ((_, jobs),) = _with_jobs([cell], kinds)
    known = {job: record for job in jobs if (record := store.load_any(*job.split("/"))) is not None}
    return _Rows(store, known, {job: record.status for job, record in known.items()}).row(suite, cell, jobs)


class _Rows:
    """Rows of cells, from the records of their jobs, artifacts unchecked, and the records' statuses."""

    def __init__(
        self,
        store: Store,
        records: Mapping[str, Record],
        statuses: Mapping[str, str],
        unread: Mapping[str, State] = MappingProxyType({}),
    ) -> None:
        self._unread = unread
        self._store, self._records, self._source = store, records, str(store.root)
        self._statuses = statuses
        self._finished = {job for job, status in statuses.items() if status == "finished"}
        self._named: dict[Any, tuple[Heads, list[list[str]]]] = {}

    def row(
        self,
        suite: str,
        cell: SuiteCell,
        jobs: Sequence[str],
        *,
        status: str = "missing",
        failed_job: str = "",
        is_stopped: bool = False,
    ) -> Row:
        """The cell's row with that status."""
        known = {job: self._records[job] for job in jobs if job in self._statuses}
        finished = [record for record in known.values() if record.status == "finished"]
        axes = cell["axes"]
        facts: Mapping[str, Any] = cell
        row: dict[str, Any] = {"source": self._source, "suite": suite, **dict(zip(_CELL, _cell(cell), strict=True))}
        row["label"] = cell["label"] or cell["recipe"]
        row["status"] = status
        named = {axis_column(axis): value for axis, value in axes.items()}
        row |= {name: value for name, value in named.items() if name not in _RESOLVED}
        row |= {name: facts[name] if name in facts else named.get(name) for name in _FACTS}
        trained = next((str(r.config["prior"]) for r in finished if r.kind == "prior" and "prior" in r.config), None)
        row["prior"] = trained or facts.get("prior")
        extras = [record.extra for record in finished]
        row["sampler"] = next((str(extra["sampler"]) for extra in extras if "sampler" in extra), None)
        row |= dict.fromkeys(COST) if is_stopped else costs(known)  # else of the shared jobs alone
        presets = [extra["preset"]["name"] for extra in extras if isinstance(extra.get("preset"), dict)]
        if presets:
            row["preset"] = ", ".join(dict.fromkeys(map(str, presets)))
        metrics, files, left_out = self._measured([record for record in finished if record.metrics], row)
        data = next((r.extra for r in finished if r.kind == "data" and isinstance(r.extra.get("counts"), dict)), {})
        marks = next((extra["contract"]["marks"] for extra in extras if "contract" in extra), ())
        return Row(
            columns=row,
            axes=dict(axes),
            metrics=metrics,
            jobs=dict(cell["jobs"]),
            data={name: data[name] for name in ("counts", "reasons") if name in data},
            marks=tuple(map(str, marks)),
            failed_job=failed_job,
            files=files,
            left_out=left_out,
        )

    def ended(self, suite: str, cell: SuiteCell, jobs: Sequence[str], since: float | None) -> Row:
        """The cell's row with its status, of all jobs that it needs; `since` when a run is working on the folder."""
        records = self._records
        if cell["jobs"] and self._finished.issuperset(cell["jobs"].values()):  # as nearly all are, of many
            return self.row(suite, cell, jobs, status="finished")
        open_jobs = {kind: job for kind, job in cell["jobs"].items() if job not in self._finished}
        if why := _without_prior(cell, open_jobs.keys(), records):
            return self.row(suite, cell, jobs, status=f"{NO_PRIOR}: {why}")
        if why := _stopped(cell, open_jobs.keys(), records):
            return self.row(suite, cell, jobs, status=why, is_stopped=True)
        needed = [*jobs, *cell.get("shared", ())]
        failed = [job for job in needed if job in records and records[job].status == "failed"]
        for job in failed:
            if not is_cancelled(records[job]):
                error = records[job].error or Failure(type="Error", message="")
                return self.row(suite, cell, jobs, status=f"failed: {records[job].kind}: {error}", failed_job=job)
        if failed:
            return self.row(suite, cell, jobs, status=f"cancelled: {records[failed[0]].kind}")
        status = "missing"
        if since is not None:
            pending = [self._store.job_folder(*job.split("/")) for job in needed if job not in records]
            status = "running" if any(started_since(folder, since) for folder in pending) else "queued"
        unread = [job for job in needed if job in self._unread] if self._unread and status != "running" else []
        for job in unread[:1]:
            how, _, cause = self._unread[job]
            status = f"{how}: {job.partition('/')[0]}: {cause}"
        return self.row(suite, cell, jobs, status=status)

    def _measured(
        self, records: Sequence[Record], columns: Mapping[str, Any]
    ) -> tuple[Metrics, dict[str, Path], dict[str, Sequence[float]]]:
        """The records' metrics by name, the files with their values by sample, and distances without groups of them."""
        parts = [Measured.of(record.metrics) for record in records]
        key = (*columns, *[record.kind for record in records], *[id(part.heads) for part in parts])
        if key not in self._named:
            self._named[key] = _named([(r.kind, part.heads) for r, part in zip(records, parts, strict=True)], columns)
        heads, names = self._named[key]
        files: dict[str, Path] = {}
        left_out: dict[str, Sequence[float]] = {}
        for record, part, own in zip(records, parts, names, strict=True):
            if VALUES in record.artifacts:
                files |= dict.fromkeys(own, self._store.job_folder(record.kind, record.key) / VALUES)
            if by_metric := record.extra.get(LEFT_OUT):
                named = zip(own, part.heads, strict=True)
                left_out |= {name: by_metric[metric.name] for name, metric in named if metric.name in by_metric}
        return Metrics(heads, [*chain.from_iterable(part.numbers for part in parts)]), files, left_out


def _named(parts: Iterable[tuple[str, Sequence[Metric]]], columns: Container[str]) -> tuple[Heads, list[list[str]]]:
    """The row's metrics by name, from those of records of some kinds, and the names of each record's."""
    heads: dict[str, tuple[int, Metric]] = {}
    names: list[list[str]] = []
    at = 0
    for kind, metrics in parts:
        names.append([])
        for metric in metrics:
            # Two jobs' metrics of one name stay apart, and none hides a column of the row.
            taken = metric.name in columns or metric.name in heads or metric.name in NESTED
            name = f"{kind}_{metric.name}" if taken else metric.name
            heads[name] = (at, replace(metric, shown="asked") if taken else metric)  # one is enough unless told
            names[-1].append(name)
            at += NUMBERS
    return heads, names


def _without_prior(cell: SuiteCell, still_open: Set[str], records: Mapping[str, Record]) -> str:
    """Why no prior of the cell is trained, where all else that it needs is done; else "". `still_open` are the kinds of
    its jobs that have not finished."""
    facts: Mapping[str, Any] = cell
    if GATE not in facts:
        return ""
    gate = Gate(**{name: facts[GATE][name] for name in ("job", "candidate", "limit")})
    decided = records.get(gate.job)
    if decided is None or decided.status != "finished" or not still_open or not still_open <= {*facts[GATE]["holds"]}:
        return ""
    return reason_of_all({gate.job: decided}, [gate])


def _stopped(cell: SuiteCell, still_open: Set[str], records: Mapping[str, Record]) -> str:
    """Why the cell's training was stopped early, where that is all that keeps it from being finished; else ""."""
    facts: Mapping[str, Any] = cell
    if HALVING not in facts or not still_open or not still_open <= {*facts[HALVING]["holds"]}:
        return ""
    return why_stopped(facts[HALVING], records)


def _without_repeats(table: list[Row]) -> list[Row]:
    """The same cell with the same jobs read from two folders is one row; a finished one goes before another."""
    if len({(row.columns["suite"], row.columns["cell"]) for row in table}) == len(table):  # nearly always
        return table
    unique: dict[tuple[Any, ...], Row] = {}
    for row in table:
        facts = row.columns
        key = (facts["suite"], facts["cell"], frozenset(row.jobs.items()))
        if key not in unique or (facts["status"] == "finished" and unique[key]["status"] != "finished"):
            unique[key] = row
    return list(unique.values())


def is_number(value: Any) -> bool:
    """True for int and float, not for bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)
