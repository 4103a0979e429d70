"""An output folder: one folder per job with its record, and the suites that were run there. The one atomic write.

OUT/jobs/<kind>/<key>/record.json     one job; beside it config.json, log/, curve.jsonl and the job's artifacts
OUT/suites/<suite>.json               the suite's cells and the jobs of each
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .errors import UserError
from .record import KINDS, InvalidRecord, Record, canonical, parse, plain

RECORD = "record.json"
SUITE_SCHEMA = 1

_TEMPORARY = ".latentbench-tmp"


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary path in `path`'s folder to write to; leaving the block puts it in `path`'s place, all or nothing.

    The file is flushed to disk before it is renamed and the folder after, so that a crash leaves the old content or
    the new. Missing folders are made. On any exception the temporary file is removed; an OSError (full disk,
    read-only or forbidden folder) becomes a UserError of one line that names `path`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent, folder=True)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise UserError(f"cannot write {path}: {error.strerror or error}{_CURES.get(error.errno, '')}") from error
        raise


def atomic_write(path: Path, content: bytes) -> None:
    """Put `content` in the file `path`, all or nothing: see `atomic_file`. Raises UserError."""
    with atomic_file(path) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
        finally:
            os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that a killed writer left in `folder` (not below). For the folder's one owner."""
    for path in folder.glob(f".*{_TEMPORARY}"):
        with suppress(OSError):
            path.unlink()


class Store:
    """The records and suites under `root`. Nothing is read or made before it is asked for."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def job_folder(self, kind: str, key: str) -> Path:
        """`root/jobs/<kind>/<key>`; not created."""
        return self.root / "jobs" / kind / key

    def load(self, kind: str, key: str) -> Record | None:
        """The job's finished record; None without one that is valid and whose artifacts are all there in full size."""
        record = self.load_any(kind, key)
        if record is None or record.status != "finished":
            return None
        folder = self.job_folder(kind, key)
        for name, size in record.artifacts.items():
            try:
                if (folder / name).stat().st_size != size:
                    return None
            except OSError:
                return None
        return record

    def load_any(self, kind: str, key: str) -> Record | None:
        """The job's valid record, finished or failed, its artifacts unchecked; None without one."""
        try:
            return self.read(kind, key)
        except InvalidRecord:
            return None

    def read(self, kind: str, key: str) -> Record:
        """As `load_any`, but raises InvalidRecord with the reason why there is no valid record."""
        try:
            content = (self.job_folder(kind, key) / RECORD).read_bytes()
        except OSError as error:
            raise InvalidRecord(error.strerror or str(error)) from None
        return Record.from_bytes(content, kind=kind, key=key)

    def save(self, record: Record) -> None:
        """Write the record atomically into its job's folder. Raises UserError when it can't be written."""
        atomic_write(self.job_folder(record.kind, record.key) / RECORD, record.to_bytes())

    def iterate(self) -> Iterator[Record]:
        """All valid records, finished and failed, kind by kind in the order of dependence, then by key."""
        found = {path.name: path for path in _folders(self.root / "jobs")}
        order = [kind for kind in KINDS if kind in found] + sorted(found.keys() - set(KINDS))
        for kind in order:
            for folder in _folders(found[kind]):
                record = self.load_any(kind, folder.name)
                if record is not None:
                    yield record

    def suite_path(self, suite: str) -> Path:
        """Where the suite's cells are kept; the name is percent-encoded, so that any name is a file's."""
        return self.root / "suites" / f"{quote(suite, safe=' ')}.json"

    def write_suite(self, suite: str, cells: Sequence[dict[str, Any]]) -> None:
        """Write the suite's cells atomically. Raises UserError when they can't be written."""
        data = {"schema": SUITE_SCHEMA, "suite": suite, "cells": [plain(cell) for cell in cells]}
        atomic_write(self.suite_path(suite), canonical(data))

    def read_suites(self) -> list[dict[str, Any]]:
        """All suites that were run here, by file name. Raises UserError naming the file that is damaged."""
        try:
            paths = sorted(path for path in (self.root / "suites").iterdir() if path.suffix == ".json")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(f"cannot read {self.root / 'suites'}: {error.strerror or error}") from None
        return [_read_suite(path) for path in paths]


_CELL: dict[str, type] = {
    "cell": str,
    "dataset": str,
    "modality": str,
    "recipe": str,
    "label": str,
    "axes": dict,
    "seed": int,
    "jobs": dict,
}


def _read_suite(path: Path) -> dict[str, Any]:
    try:
        data = parse(path.read_bytes())
        if (
            not isinstance(data, dict)
            or not isinstance(data.get("suite"), str)
            or not isinstance(data.get("cells"), list)
        ):
            raise InvalidRecord("it has no suite name or no list of cells")
        if data.get("schema") != SUITE_SCHEMA:
            raise InvalidRecord(f"schema {data.get('schema')!r} where {SUITE_SCHEMA} is read")
        for index, cell in enumerate(data["cells"]):
            for name, kind in _CELL.items():
                if not isinstance(cell, dict) or not isinstance(cell.get(name), kind):
                    raise InvalidRecord(f"cells[{index}].{name} is missing or no {kind.__name__}")
            if not all(isinstance(job, str) and job.count("/") == 1 for job in cell["jobs"].values()):
                raise InvalidRecord(f"cells[{index}].jobs holds something other than <kind>/<key>")
    except (InvalidRecord, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path}: not a suite's cells: {reason}; run the suite again to write it anew") from None
    return data


def _folders(path: Path) -> list[Path]:
    try:
        return sorted(entry for entry in path.iterdir() if entry.is_dir())
    except OSError:
        return []


def _sync(path: Path, *, folder: bool = False) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems can't flush a folder; the rename is atomic on them all the same.
        if not (folder and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(descriptor)


_CURES: dict[int | None, str] = {
    errno.ENOSPC: "; free some space or choose another --out",
    errno.EDQUOT: "; free some space or choose another --out",
    errno.EACCES: "; choose an --out that you may write to",
    errno.EPERM: "; choose an --out that you may write to",
    errno.EROFS: "; choose an --out that you may write to",
}
