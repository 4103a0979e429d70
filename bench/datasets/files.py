"""Files of a folder: listed in an order that does not depend on the file system, and hashed once. No torch."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ...results.errors import UserError, nearest
from .source import Progress

_CHUNK = 1 << 20
# A file changed less than this before it was hashed may change again within the clock's grain: not remembered.
_SETTLED_NS = 2_000_000_000
# A file that changes each time it is hashed is being written.
_ATTEMPTS = 3


class FileState(NamedTuple):
    """What tells that a file is still the same one, unchanged. Its times of change can't be set by programs, unlike its
    modification time, which archives and copies bring along."""

    size: int
    modified: int
    changed: int
    inode: int


class HashedFile(NamedTuple):
    """A file's SHA-256 (hex) and the state in which it had that content."""

    digest: str
    state: FileState


def file_state(file: Path | int) -> FileState:
    """The present state of a path or of an open file. Raises OSError."""
    status = os.stat(file)
    return FileState(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def find_folder(path: str) -> Path:
    """The folder `path` (`~` expanded). Raises UserError when there is none, naming a sibling of a similar name."""
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise UserError(f"data.path: {folder} is a file; give the folder that holds it")
    near = None
    with suppress(OSError):
        near = nearest(folder.name, [entry.name for entry in folder.absolute().parent.iterdir() if entry.is_dir()])
    hint = f"; did you mean {str(folder.parent / near)!r}?" if near else ""
    raise UserError(f"data.path: no such folder: {folder}{hint}")


def list_files(root: Path, extensions: Iterable[str] | None = None) -> tuple[list[str], list[tuple[str, str]]]:
    """All files under `root` as sorted relative paths ("/" between parts), and what could not be listed, with reasons.

    Recursive; names that begin with a dot are ignored; links are followed, a folder reached twice is read once.
    `extensions` (lower case, with the dot) picks files by the end of their name, whatever its case.
    """
    endings = None if extensions is None else tuple(extensions)
    names: list[str] = []
    problems: list[tuple[str, str]] = []
    seen: set[tuple[int, int]] = set()

    def visit(folder: Path, prefix: str) -> None:
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                return
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            problems.append((prefix or ".", f"can't be listed: {error.strerror}"))
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            name = prefix + entry.name
            path = folder / entry.name
            # os.path's tests, unlike the entry's own, are False where a link can't be followed.
            if os.path.isdir(path):
                visit(path, f"{name}/")
            elif endings is None or entry.name.lower().endswith(endings):
                if os.path.isfile(path):
                    names.append(name)
                else:
                    problems.append((name, "no regular file (a broken link?)"))

    visit(root, "")
    return sorted(names), problems


def hash_files(
    root: Path, names: list[str], *, cache: Path, progress: Progress
) -> tuple[dict[str, HashedFile], list[tuple[str, str]]]:
    """Each file's hash by name, and the files that can't be read, with reasons.

    Hashes are remembered under `cache` by path and state, so that a second call reads no unchanged file again.
    """
    index_path = cache / "hashes" / f"{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:24]}.json"
    old = _read_index(index_path)
    hashes: dict[str, HashedFile] = {}
    problems: list[tuple[str, str]] = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = pool.map(lambda name: _hash(root / name, old.get(name)), names)
        for done, (name, result) in enumerate(zip(names, results, strict=True)):
            progress(done, len(names), "hashing files")
            if isinstance(result, str):
                problems.append((name, result))
            else:
                hashes[name] = result
    progress(len(names), len(names), "hashing files")
    settled = time.time_ns() - _SETTLED_NS
    index = {name: file for name, file in hashes.items() if max(file.state.modified, file.state.changed) < settled}
    if old != index:
        _write_index(index_path, index)
    return hashes, problems


def _hash(path: Path, old: HashedFile | None) -> HashedFile | str:
    try:
        for _ in range(_ATTEMPTS):
            with path.open("rb") as file:
                state = file_state(file.fileno())
                if old is not None and old.state == state:
                    return old
                digest = hashlib.sha256()
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
            if file_state(path) == state:
                return HashedFile(digest.hexdigest(), state)
    except OSError as error:
        return f"can't be read: {error.strerror}"
    return "can't be read: it changes while it is read"


def _read_index(path: Path) -> dict[str, HashedFile]:
    # A damaged or foreign index costs a second look at the files and nothing else.
    with suppress(OSError, ValueError, TypeError, AttributeError):
        entries = json.loads(path.read_text()).items()
        return {name: HashedFile(digest, FileState(*state)) for name, (digest, state) in entries}
    return {}


def _write_index(path: Path, index: dict[str, HashedFile]) -> None:
    # A cache that can't be written is reported where something must be written to it.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps(index))
        draft.replace(path)
