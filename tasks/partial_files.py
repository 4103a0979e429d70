"""Files of rows that are written batch by batch and get their names when they are complete."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO, FileIO
from pathlib import Path
from typing import Any

import numpy as np

from ..results.digest import file_digest
from ..results.errors import UserError
from ..results.store import atomic_write
from .chunks import SECONDS

PART = ".part"  # ends the names of files that are being written
_READ_BYTES = 64 << 20


class PartialFiles:
    """`.npy` files of `total` rows each, written in order under temporary names.

    Written, not memory-mapped: a full disk raises an error here, where a mapped page would kill the process.
    """

    def __init__(self, folder: Path, name: str, total: int, *, resume: bool) -> None:
        self.done, self.finished = 0, False
        self._folder, self._name, self._total, self._resumes = folder, name, total, resume
        self._files: dict[str, FileIO] = {}
        self._digests: dict[str, Any] = {}  # of what was written so far, by ending
        self._rows: dict[str, int] = {}  # bytes of a row, by ending
        self._types: dict[str, np.dtype] = {}
        self._saved = time.monotonic()
        self._state = folder / f"{name}.rows{PART}"
        if resume:
            with suppress(OSError, ValueError, KeyError, TypeError):
                self._resume()

    def append(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The next rows, by the ending of the file's name. Raises UserError."""
        ending = ""
        try:
            if not self.done and not self._files:
                for ending, array in arrays.items():
                    self._create(ending, array)
            elif arrays.keys() != self._files.keys():
                raise UserError(
                    f"{self._name}: from sample {self.done} on the tokenizer gives other parts than before it"
                )
            for ending, array in arrays.items():
                rows = np.ascontiguousarray(array, dtype=self._types[ending])
                self._write(ending, rows.data.cast("B"))
        except OSError as error:
            place = self._folder / f"{self._name}{ending}"
            raise UserError(f"cannot write {place}: {error.strerror or error}") from error
        self.done += len(next(iter(arrays.values())))
        if time.monotonic() - self._saved >= SECONDS:
            self.save()

    def save(self, *, finished: bool = False) -> None:
        """Note how many rows are safe on disk."""
        for file in self._files.values():
            os.fsync(file.fileno())
        facts: dict[str, Any] = {"done": self.done, "total": self._total, "rows": self._rows, "finished": finished}
        facts["types"] = {ending: dtype.str for ending, dtype in self._types.items()}
        facts["sha256"] = {ending: digest.hexdigest() for ending, digest in self._digests.items()}
        atomic_write(self._state, json.dumps(facts).encode())
        self._saved = time.monotonic()

    def finish(self) -> None:
        """Give the files their names. Raises UserError."""
        try:
            for ending, file in self._files.items():
                os.fsync(file.fileno())
                os.replace(self._path(ending), self._folder / f"{self._name}{ending}")
        except OSError as error:
            raise UserError(f"cannot write {self._folder}: {error.strerror or error}") from error
        self.save(finished=True)
        if not self._resumes:
            self._state.unlink()

    def remove(self) -> None:
        """Remove what has no name yet."""
        for path in (self._state, *map(self._path, self._files)):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def _path(self, ending: str) -> Path:
        return self._folder / f"{self._name}{ending}{PART}"

    def _create(self, ending: str, like: np.ndarray) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._files[ending], self._digests[ending] = FileIO(self._path(ending), "w"), hashlib.sha256()
        header = BytesIO()
        description = {"descr": np.lib.format.dtype_to_descr(like.dtype), "fortran_order": False}
        np.lib.format.write_array_header_1_0(header, {**description, "shape": (self._total, *like.shape[1:])})
        self._write(ending, header.getvalue())
        self._rows[ending], self._types[ending] = like[:1].nbytes, like.dtype

    def _write(self, ending: str, content: bytes | memoryview) -> None:
        self._digests[ending].update(content)
        _write(self._files[ending], content)

    def _resume(self) -> None:
        """Open the files behind the rows that are safe. Raises where there are none, not of this set, or damaged."""
        facts = json.loads(self._state.read_bytes())
        if facts["total"] != self._total or not 0 < facts["done"] <= self._total:
            return
        if facts["finished"]:
            paths = {ending: self._folder / f"{self._name}{ending}" for ending in facts["rows"]}
            self.finished = all(file_digest(path) == facts["sha256"][ending] for ending, path in paths.items())
            return
        files, digests = {}, {}
        try:
            for ending, row in facts["rows"].items():
                file = files[ending] = FileIO(self._path(ending), "r+")
                np.lib.format.read_magic(file)
                np.lib.format.read_array_header_1_0(file)
                end = file.tell() + facts["done"] * row
                if file.seek(0, os.SEEK_END) < end:
                    raise ValueError("rows are missing")
                file.truncate(end)
                file.seek(0)
                digests[ending] = hashlib.sha256()
                while content := file.read(_READ_BYTES):
                    digests[ending].update(content)
                if digests[ending].hexdigest() != facts["sha256"][ending]:
                    raise ValueError("rows are damaged")
        except (OSError, ValueError, KeyError):
            for file in files.values():
                file.close()
            raise
        self._files, self._digests = files, digests
        self._rows, self.done = facts["rows"], facts["done"]
        self._types = {ending: np.dtype(text) for ending, text in facts["types"].items()}


def _write(file: FileIO, content: bytes | memoryview) -> None:
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]
