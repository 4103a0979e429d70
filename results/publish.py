"""A static board of many runs: `index.html` with tables and history, and `board.json` for other boards and tables."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

from .board import NAME, BoardRun, board_path, read_board, write_board
from .board_page import board_page
from .columns import mixed_metrics
from .errors import UserError
from .filters import select
from .groups import aggregate, split
from .output_file import write_output
from .record import Record
from .rows import Row, rows
from .run_score import with_scores_of_runs
from .store import Store
from .tables import Table, tables

Versions = dict[str, list[str]]  # of packages, by their names

_VALUES = "values"  # the folder of metrics' values by sample
_OF_BOARD = re.compile(r"[0-9a-f]{64}\.safetensors")  # what such a file is called on a board


def publish(
    dirs: Sequence[Path | str],
    *,
    out: Path | str,
    where: str | Sequence[str] | None = None,
    reports: bool = False,
) -> Path:
    """Write the board of the runs (and boards) in `dirs` into the folder `out` and return its page.

    `where` are filters as `select` takes them: only what meets them is published. Rows of a run with a `score.json` in
    its folder have `modelability_score`. With `reports` each run's report stands beside. Raises UserError for folders
    without a run, damaged files, and a place that can't be written.
    """
    place = Path(out)
    if os.path.isdir(place / "suites"):
        raise UserError(f"--out {place}: is the folder of a run; choose another folder")
    places = list({Path(path).resolve(): Path(path) for path in dirs}.values())
    chosen = select(with_scores_of_runs(rows(places)), where)
    names, versions, history = _sources(places, chosen)
    if reports:
        _reports(place, names, history, where)
    table = [replace(row, columns={**row.columns, "source": names[row["source"]]}) for row in chosen]
    told = [versions.get((row["source"], row["suite"], row["cell"]), {}) for row in chosen]
    return write_site(place, table, told, history)


def write_site(place: Path, table: Sequence[Row], versions: Sequence[Versions], history: Sequence[BoardRun]) -> Path:
    """Write the board of the rows in `table`, each with the `versions` that measured it, into the folder `place` and
    return its page. A row's `source` is the name of its run in `history`. Raises UserError where it can't be written.
    """
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    drawn = board_tables(table)
    lines = [_plain(row, _copied(row, place), told) for row, told in zip(table, versions, strict=True)]
    write_board(place / NAME, version=version("latentbench"), made=made, runs=history, rows=lines)
    write_output(place / "index.html", board_page(drawn, history, made=made).encode("utf-8", "backslashreplace"))
    _tidy(place / _VALUES, {name for line in lines for name in line["files"].values()})
    return place / "index.html"


def board_tables(table: Sequence[Row]) -> list[Table]:
    """The leaderboard's tables, where lines are compared: one per suite, data set and protocol. Runs of one suite that
    have the same cells with other jobs (an older version's) have tables of their own."""
    result = []
    for part in _by_table(table):
        for source, members in _by_run(part):
            for protocol, same in _by_protocol(members):
                title = " · ".join(text for text in (source, protocol) if text)
                result += [replace(one, part=title) for one in tables(same)]
    return result


def reasons_apart(table: Sequence[Row]) -> list[str]:
    """Why rows of one suite and data set have several tables in `board_tables`, a line per suite and data set."""
    lines = []
    for part in _by_table(table):
        runs = _by_run(part)
        reasons = [f"{', '.join(name for name, _ in runs)}: the same cells with other jobs"] if len(runs) > 1 else []
        parts = [protocol for _, members in runs for protocol, _ in _by_protocol(members) if protocol]
        reasons += [f"several protocols: {' | '.join(dict.fromkeys(parts))}"] if parts else []
        lines += [f"{part[0]['suite']}, {part[0]['dataset']}: {reason}" for reason in reasons]
    return lines


def free_name(name: str, taken: Collection[str]) -> str:
    """The name, or with the first number (`name #2`) that makes it none of those `taken`."""
    if name not in taken:
        return name
    base = re.sub(r" #\d+$", "", name)
    return next(other for number in count(2) if (other := f"{base} #{number}") not in taken)


def _by_table(table: Sequence[Row]) -> list[list[Row]]:
    parts: dict[tuple[str, str, str], list[Row]] = {}
    for row in table:
        parts.setdefault((row["suite"], row["dataset"], row["modality"]), []).append(row)
    return list(parts.values())


def _by_run(table: list[Row]) -> list[tuple[str, list[Row]]]:
    """The rows as they are, or where two runs can't stand in one table, those of each with its name."""
    try:
        aggregate(table)
    except UserError:
        pass
    else:
        return [("", table)]
    parts: dict[str, list[Row]] = {}
    for row in table:
        parts.setdefault(row["source"], []).append(row)
    return [(f"run {name}", members) for name, members in parts.items()]


def _by_protocol(table: list[Row]) -> list[tuple[str, list[Row]]]:
    """The rows by the protocols of the metrics that may not be mixed in one table, with a title where there are
    several; a row that lacks a metric stands with the first ones that it agrees with."""
    mixed = mixed_metrics([group for members in split(aggregate(table)) for group in members])
    if not mixed:
        return [("", table)]
    parts: list[tuple[dict[str, str], list[Row]]] = []
    for row in sorted(table, key=lambda row: -sum(name in _protocols(row) for name in mixed)):
        own = {name: text for name, text in _protocols(row).items() if name in mixed}
        for protocols, members in parts:
            if all(protocols.get(name, text) == text for name, text in own.items()):
                protocols.update(own)
                members.append(row)
                break
        else:
            parts.append((own, [row]))
    return [
        ("; ".join(f"{name}: {protocols[name]}" for name in mixed if name in protocols), r) for protocols, r in parts
    ]


def _protocols(row: Row) -> dict[str, str]:
    return {name: metric.protocol for name, metric in row.metrics.items() if metric.value is not None}


def _sources(
    places: Sequence[Path], chosen: Sequence[Row]
) -> tuple[dict[str, str], dict[tuple[str, str, str], Versions], list[BoardRun]]:
    """The runs' names by source, the versions by (source, suite, cell), and the history of runs with a chosen row."""
    names: dict[str, str] = {}
    versions: dict[tuple[str, str, str], Versions] = {}
    history: list[BoardRun] = []
    by_source: dict[str, list[Row]] = {}
    for row in chosen:
        by_source.setdefault(row["source"], []).append(row)

    def add(source: str, name: str, run: BoardRun) -> None:
        names[source] = free_name(name, set(names.values()))
        history.append({**run, "name": names[source]})

    for place in places:
        board = board_path(place)
        if board is None:
            store, own = Store(place), by_source.get(str(place), [])
            if own:
                add(str(place), place.resolve().name or "run", _run_of(store, own))
            versions |= {(str(place), r["suite"], r["cell"]): _versions(_records(store, [r])) for r in own}
            continue
        data = read_board(board)
        for run in data["runs"]:
            source = f"{board}:{run['name']}"
            if source in by_source:
                run.pop("report", None)  # which stays where it is
                add(source, run["name"], run)
        for line in data["rows"]:
            identity = line["columns"]
            versions[f"{board}:{identity['source']}", identity["suite"], identity["cell"]] = line["versions"]
    for source in by_source:
        names.setdefault(source, source.rpartition(":")[2])  # of a run that a board's history lacks
    return names, versions, history


def _run_of(store: Store, table: Sequence[Row]) -> BoardRun:
    records = _records(store, table)
    began = sorted(str(record.run["started"]) for record in records if "started" in record.run)
    ended = sorted(str(record.run["finished"]) for record in records if "finished" in record.run)
    return {
        "name": "",
        "suites": list(dict.fromkeys(row["suite"] for row in table)),
        "began": began[0] if began else "",
        "ended": ended[-1] if ended else "",
        "cells": len(table),
        "finished": sum(row["status"] == "finished" for row in table),
        "versions": _versions(records),
        "devices": sorted({str(r.run.get("device_name", r.run.get("device"))) for r in records if "device" in r.run}),
    }


def _records(store: Store, table: Iterable[Row]) -> list[Record]:
    jobs = dict.fromkeys(job for row in table for job in row.jobs.values())
    outcomes = (store.outcome(*job.split("/")) for job in jobs)
    return [record for record in outcomes if record is not None]


def _versions(records: Sequence[Record]) -> Versions:
    result: dict[str, set[str]] = {}
    for record in records:
        told = record.run.get("versions")
        for name, number in told.items() if isinstance(told, Mapping) else ():
            result.setdefault(str(name), set()).add(str(number))
    return {name: sorted(numbers) for name, numbers in sorted(result.items())}


def _reports(
    place: Path, names: Mapping[str, str], history: Sequence[BoardRun], where: str | Sequence[str] | None
) -> None:
    from .report.build import report

    for number, run in enumerate(history, 1):
        source = next(source for source, name in names.items() if name == run["name"])
        if board_path(Path(source)) is None and Path(source).is_dir():
            folder = f"reports/{number}-" + (re.sub(r"[^A-Za-z0-9_-]+", "-", run["name"]).strip("-") or "run")
            report([source], out=place / folder, where=where)
            run["report"] = f"{folder}/index.html"


def _copied(row: Row, place: Path) -> dict[str, str]:
    """The row's files of values by sample beside the board, called by their content; by metric."""
    result = {}
    for name, path in row.files.items():
        try:
            content = path.read_bytes()
        except OSError:
            continue  # as tables read it: not kept
        digest = hashlib.sha256(content).hexdigest()
        if _OF_BOARD.fullmatch(path.name) and path.stem != digest:
            continue  # of a board, where the name tells the content: changed since, or a link to what is none of it
        target = f"{_VALUES}/{digest}.safetensors"
        if not os.path.exists(place / target):
            write_output(place / target, content)
        result[name] = target
    return result


def _plain(row: Row, files: Mapping[str, str], versions: Versions) -> dict[str, Any]:
    return {
        "columns": dict(row.columns),
        "axes": dict(row.axes),
        "metrics": {name: metric.to_json() for name, metric in row.metrics.items()},
        "jobs": dict(row.jobs),
        "data": dict(row.data),
        "marks": list(row.marks),
        "failed_job": row.failed_job,
        "left_out": {name: list(values) for name, values in row.left_out.items()},
        "files": dict(files),
        "versions": versions,
    }


def _tidy(folder: Path, needed: set[str]) -> None:
    """Remove the values of an earlier board in the same place."""
    for path in _of_values(folder):
        if f"{_VALUES}/{path.name}" not in needed:
            path.unlink(missing_ok=True)


def _of_values(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("*.safetensors") if _OF_BOARD.fullmatch(path.name))
