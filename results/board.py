"""The file `board.json`: rows of many runs without their folders, for other boards and tables to read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from .canonical import pretty
from .errors import UserError
from .metric import Metric
from .output_file import write_output
from .record import InvalidRecord, explain, parse, plain

NAME = "board.json"
FORMAT = "latentbench board"
SCHEMA = 1
LARGEST = 2**30  # bytes of a board that is read

_VALUES = r"^values/[0-9a-f]{64}\.safetensors$"  # below the board's folder, by content
_Job = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*/[^/\x00]+$")]


# A column beside these is a rate, a cost or an axis.
@with_config(ConfigDict(extra="allow"))
class Columns(TypedDict):
    """The identity of a row: `source` is the name of its run in `runs`."""

    source: str
    suite: str
    cell: str
    dataset: str
    modality: str
    recipe: str
    label: str
    seed: int
    status: str


class BoardRow(TypedDict):
    """A row as `rows.Row` has it: `metrics` by column, `jobs` by kind with the hash of their configuration, `versions`
    of the packages that measured it, `files` (below the board's folder) with metrics' values by sample."""

    columns: Columns
    axes: dict[str, Any]
    metrics: dict[str, dict[str, Any]]
    jobs: dict[str, _Job]
    data: dict[str, Any]
    marks: list[str]
    failed_job: str
    left_out: dict[str, list[float]]
    files: dict[str, Annotated[str, Field(pattern=_VALUES)]]
    versions: dict[str, list[str]]


class BoardRun(TypedDict):
    """One run in the history: when its jobs began and ended (UTC), by what versions and on what devices."""

    name: str
    suites: list[str]
    began: str
    ended: str
    cells: int
    finished: int
    versions: dict[str, list[str]]
    devices: list[str]
    report: NotRequired[str]


class Board(TypedDict):
    """The whole file; `sha256` is the digest of all else in it."""

    format: str
    schema: int
    latentbench: str
    made: str
    runs: list[BoardRun]
    rows: list[BoardRow]
    sha256: str


def board_path(place: Path) -> Path | None:
    """The board that `place` is (any file) or holds (a folder with one, and no run); None for a run's folder."""
    # `os.path` says no to a name that no file can have, for which a Path raises.
    if os.path.isfile(place):
        return place
    inside = place / NAME
    return inside if os.path.isfile(inside) and not os.path.isdir(place / "suites") else None


def write_board(
    path: Path, *, version: str, made: str, runs: Sequence[BoardRun], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Write the file, all or nothing. Raises UserError where it can't be written."""
    data = {"format": FORMAT, "schema": SCHEMA, "latentbench": version, "made": made, "runs": runs, "rows": rows}
    data = plain(data)
    # Columns and metrics stay in their order, which tables follow.
    text = json.dumps(data | {"sha256": _digest(data)}, indent=1, ensure_ascii=False, allow_nan=False)
    write_output(path, text.encode("utf-8", "backslashreplace") + b"\n")


def read_board(path: Path) -> Board:
    """The board in a file. Raises UserError for one that is damaged, of another program or of a newer version."""
    try:
        if path.stat().st_size > LARGEST:
            raise InvalidRecord(f"larger than {LARGEST >> 20} MiB")
        data = parse(path.read_bytes())
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise InvalidRecord(f"its format is not {FORMAT!r}")
        if data.get("schema") != SCHEMA:
            raise InvalidRecord(f"schema {data.get('schema')!r} is not the one that this version reads ({SCHEMA})")
        if data.get("sha256") != _digest(data):
            raise InvalidRecord("its digest (sha256) is another: damaged, or changed by hand")
        return _adapter().validate_python(data, strict=True)
    except OSError as error:
        reason = error.strerror or str(error)
    except ValidationError as error:
        reason = explain(error)
    except InvalidRecord as error:
        reason = str(error)
    raise UserError(f"{path}: not a board: {reason}; expected the {NAME} that `latentbench publish` writes")


def metrics_of(row: BoardRow, path: Path) -> dict[str, Metric]:
    """The row's metrics by column. Raises UserError for what is no metric."""
    result = {}
    for name, item in row["metrics"].items():
        try:
            checked = _metric().validate_json(json.dumps(item), strict=True)
        except ValidationError as error:
            raise UserError(f"{path}: not a board: {row['columns']['cell']}: {name}: {explain(error)}") from None
        # Numbers as they were written: 1 stays 1, not 1.0.
        numbers = {key: item[key] for key in ("value", "se") if key in item}
        around = item.get("interval")
        result[name] = replace(checked, **numbers, interval=None if around is None else (around[0], around[1]))
    return result


@cache
def _adapter() -> TypeAdapter[Board]:
    return TypeAdapter(Board)


@cache
def _metric() -> TypeAdapter[Metric]:
    return TypeAdapter(Metric)


def _digest(data: Mapping[str, Any]) -> str:
    return hashlib.sha256(pretty({name: value for name, value in data.items() if name != "sha256"})).hexdigest()
