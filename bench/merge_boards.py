"""Several boards made one: each row once, and of the runs that several boards have, one entry. Torch-free."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..results.board import BoardRun, board_path, read_board
from ..results.comparable import SCORE
from ..results.digest import file_digest
from ..results.errors import UserError
from ..results.groups import doubts_column
from ..results.metrics import Metrics
from ..results.publish import Versions, free_name, reasons_apart, write_site
from ..results.rows import Row, is_number, rows
from ..results.store import atomic_folder
from .merge import ConflictError

# What of a metric two boards must agree in: the rest is how tables show it.
_MEASURED = ("value", "se", "interval", "n", "missing", "direction", "unit", "protocol")
# Columns of when and where a job ran.
_OF_RUN = ("seconds", "train_seconds", "prior_seconds", "sampling_per_second", "peak_memory_bytes")

_DOUBTS = doubts_column(SCORE)

_Cell = tuple[str, str, tuple[tuple[str, str], ...]]  # suite, name, jobs


@dataclass(kw_only=True)
class MergedBoards:
    """What `out` holds: how many `rows` of how many `runs`; how many rows of the boards `repeated` one of them;
    which tables are `apart` and why; the files of values by sample that were left out as `damaged`, with the reason."""

    rows: int = 0
    runs: int = 0
    repeated: int = 0
    apart: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Board:
    """A board that was read; its runs' `names`, their entries in the history and its rows' versions by the `source`
    that its rows have in tables."""

    path: Path
    rows: list[Row]
    names: dict[str, str]
    runs: dict[str, BoardRun]
    versions: dict[tuple[str, _Cell], Versions]


def merge_boards(sources: Sequence[Path], out: Path) -> MergedBoards:
    """Write into the new folder `out` the board of all rows of the boards `sources`, as `publish` writes one.

    Of a row that several have (its suite, cell and jobs are the same) the first one's is taken, and a finished one
    before another. Runs of one name that share a record are one run of the history. Raises ConflictError, before
    anything is written, where two boards have other numbers in one row; UserError for what is no board, or a damaged
    one, and for an `out` that is there and not empty.
    """
    _check_new(out)
    merged = MergedBoards()
    places = {path.resolve(): path for path in map(_path_of, sources)}
    boards = [_read(path, merged.damaged) for path in places.values()]
    chosen, first_source = _choose(boards)
    names, history = _history(boards, chosen, first_source)
    versions = {where: told for board in boards for where, told in board.versions.items()}
    table = [
        replace(row, columns={**row.columns, "source": names[first_source[row["source"]]]}) for row in chosen.values()
    ]
    with atomic_folder(out) as folder:
        write_site(folder, table, [versions[row["source"], cell] for cell, row in chosen.items()], history)
    merged.rows, merged.runs = len(table), len(names)
    merged.repeated = sum(len(board.rows) for board in boards) - len(table)
    merged.apart = reasons_apart(table)
    return merged


def _check_new(out: Path) -> None:
    try:
        taken = os.path.lexists(out) and (not os.path.isdir(out) or bool(os.listdir(out)))
    except OSError as error:
        raise UserError(f"--out {out}: can't be read: {error.strerror}") from None
    if taken:
        raise UserError(f"--out {out}: is there and is no empty folder; choose a new one for the merged board")


def _path_of(source: Path) -> Path:
    board = board_path(source)
    if board is None:
        raise UserError(f"{source}: no board; expected what `latentbench publish` writes: a board.json, or its folder")
    return board


def _read(path: Path, damaged: list[str]) -> _Board:
    """The board in the file; files of values by sample that are not there, or not what was published, are left out of
    its rows, and the latter are named in `damaged`."""
    data = read_board(path)
    intact: dict[Path, bool] = {}

    def usable(file: Path) -> bool:
        if file not in intact:
            there = os.path.isfile(file)
            intact[file] = there and _digest(file) == file.stem
            if there and not intact[file]:
                damaged.append(f"{file}: its content is not the one that its name tells (SHA-256)")
        return intact[file]

    table = [
        replace(row, files={name: file for name, file in row.files.items() if usable(file)}) for row in rows([path])
    ]
    names, versions = {}, {}
    for line in data["rows"]:
        columns = line["columns"]
        source = f"{path}:{columns['source']}"
        names[source] = columns["source"]
        versions[source, (columns["suite"], columns["cell"], tuple(sorted(line["jobs"].items())))] = line["versions"]
    runs = {f"{path}:{run['name']}": run for run in data["runs"]}
    return _Board(path=path, rows=table, names=names, runs=runs, versions=versions)


def _digest(file: Path) -> str:
    try:
        return file_digest(file)
    except OSError:
        return ""


def _cell(row: Row) -> _Cell:
    return row["suite"], row["cell"], tuple(sorted(row.jobs.items()))


def _choose(boards: Sequence[_Board]) -> tuple[dict[_Cell, Row], dict[str, str]]:
    """The rows of the boards, each once; and by the source of every run that of the first which is the same run.
    Raises ConflictError."""
    chosen: dict[_Cell, Row] = {}
    origins: dict[_Cell, Path] = {}
    names = {source: name for board in boards for source, name in board.names.items()}
    first_source = {source: source for source in names}
    conflicts = []
    for board in boards:
        for row in board.rows:
            cell = _cell(row)
            first = chosen.setdefault(cell, row)
            if first is row:
                origins[cell] = board.path
                continue
            if differing := _differing(first, row):
                where = f"{origins[cell]} and in {board.path}"
                conflicts.append(f"{row['cell']} of the suite {row['suite']!r} has another {differing} in {where}")
            if _one_record(first, row) and _base(names[first["source"]]) == _base(names[row["source"]]):
                _unite(first_source, first["source"], row["source"])
            if row["status"] == "finished" and first["status"] != "finished":
                chosen[cell], origins[cell] = _completed(row, first), board.path
            else:
                chosen[cell] = _completed(first, row)
    if conflicts:
        raise ConflictError(conflicts)
    return chosen, first_source


def _unite(first_source: dict[str, str], one: str, other: str) -> None:
    """Make two runs, and all that are the same as either, one."""
    several = {first_source[one], first_source[other]}
    if len(several) == 2:
        first = next(source for source in first_source if source in several)
        first_source.update({source: first for source, target in first_source.items() if target in several})


def _completed(row: Row, other: Row) -> Row:
    """The row, with the files of values by sample that another board has of it too, and its score where the row has
    none."""
    files = {**other.files, **row.files}
    row = replace(row, files={name: file for name, file in files.items() if name in row.metrics})
    if SCORE not in other.metrics or row.get(SCORE) is not None:
        return row
    doubts = {_DOUBTS: other.columns[_DOUBTS]} if _DOUBTS in other.columns else {}
    return replace(
        row, columns={**row.columns, **doubts}, metrics=Metrics.of({**row.metrics, SCORE: other.metrics[SCORE]})
    )


def _differing(a: Row, b: Row) -> str:
    """The first thing that two boards measured otherwise in one row, with both values; "" for none."""
    return next((f"{name} ({one!r}, {other!r})" for name, one, other in _pairs(a, b) if one != other), "")


def _pairs(a: Row, b: Row) -> Iterator[tuple[str, Any, Any]]:
    """What has to be the same in two rows of one cell: its name, and both values. What one of them lacks, and totals,
    say nothing before both have finished; a score that one of them lacks never does, since tables apply it."""
    finished = {a["status"], b["status"]} == {"finished"}
    for name in dict.fromkeys([*a.metrics, *b.metrics]):
        first, second = a.metrics.get(name), b.metrics.get(name)
        if name == SCORE and (a.get(SCORE) is None or b.get(SCORE) is None):
            continue
        if first is None or second is None:
            if finished:
                yield name, first and first.value, second and second.value
            continue
        for part in _MEASURED:
            yield name if part == "value" else f"{part} of {name}", getattr(first, part), getattr(second, part)
        if name in a.files and name in b.files:
            yield f"values by sample of {name}", a.files[name].stem, b.files[name].stem
    for name in dict.fromkeys([*a.columns, *b.columns] if finished else ()):
        first, second = a.columns.get(name), b.columns.get(name)
        if name not in _OF_RUN and is_number(first) and is_number(second):
            yield name, first, second


def _one_record(a: Row, b: Row) -> bool:
    """Whether two rows are of the same records, to the seconds that they took: of a run that was published twice.
    A run that did the same jobs elsewhere took other seconds."""
    differing = {"source": "", _DOUBTS: ""}  # what is published of one record may have other values
    return a["status"] == "finished" and {**a.columns, **differing} == {**b.columns, **differing}


def _base(name: str) -> str:
    """A run's name without the number that tells it from others of its name on a board."""
    return re.sub(r" #\d+$", "", name)


def _history(
    boards: Sequence[_Board], chosen: dict[_Cell, Row], first_source: dict[str, str]
) -> tuple[dict[str, str], list[BoardRun]]:
    """The names of the runs that have a row, by the source of the first of those that are one; and their history."""
    needed = {first_source[row["source"]] for row in chosen.values()}
    entries: dict[str, list[BoardRun]] = {}
    cells: dict[str, set[_Cell]] = {}
    for board in boards:
        for source, run in board.runs.items():
            entries.setdefault(first_source.get(source, source), []).append(run)
        for row in board.rows:
            cells.setdefault(first_source[row["source"]], set()).add(_cell(row))
    names: dict[str, str] = {}
    taken: set[str] = set()
    history: list[BoardRun] = []
    for source, runs in entries.items():
        if source in needed:
            names[source] = free_name(runs[0]["name"], taken)
            taken.add(names[source])
            run = _joined(runs, [chosen[cell]["status"] for cell in cells[source]])
            history.append({**run, "name": names[source]})
    for board in boards:
        for source in sorted((board.names.keys() & needed) - names.keys()):  # of a run that the board's history lacks
            names[source] = free_name(board.names[source], taken)
            taken.add(names[source])
    return names, history


def _joined(runs: Sequence[BoardRun], statuses: Sequence[str]) -> BoardRun:
    """One entry of several that are of one run, whose cells have these statuses. A report stays on its own board."""
    first = runs[0].copy()
    first.pop("report", None)
    if len(runs) == 1:
        return first
    versions: dict[str, set[str]] = {}
    for run in runs:
        for name, numbers in run["versions"].items():
            versions.setdefault(name, set()).update(numbers)
    return {
        **first,
        "suites": list(dict.fromkeys(suite for run in runs for suite in run["suites"])),
        "began": min((run["began"] for run in runs if run["began"]), default=""),
        "ended": max(run["ended"] for run in runs),
        "cells": len(statuses),
        "finished": statuses.count("finished"),
        "versions": {name: sorted(numbers) for name, numbers in sorted(versions.items())},
        "devices": sorted({device for run in runs for device in run["devices"]}),
    }
