"""Files of a folder: found in an order that does not depend on the file system, and hashed once. No torch."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from ...results.errors import UserError, nearest
from .source import Progress

_CHUNK = 1 << 20
# A file changed less than this before it was hashed may change again within the clock's grain: not remembered.
_SETTLED_NS = 2_000_000_000


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
    files: list[str] = []
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
                    files.append(name)
                else:
                    problems.append((name, "no regular file (a broken link?)"))

    visit(root, "")
    return sorted(files), problems


def hash_files(
    root: Path, names: list[str], *, cache: Path, progress: Progress
) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """SHA-256 of each file's content by name, and the files that can't be read, with reasons.

    Hashes are remembered under `cache` by (path, size, modification time), so that a second call reads no file again.
    """
    index_path = cache / "hashes" / f"{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:24]}.json"
    old = _read_index(index_path)
    hashes: dict[str, str] = {}
    problems: list[tuple[str, str]] = []
    index: dict[str, tuple[int, int, str]] = {}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = pool.map(lambda name: _hash(root / name, old.get(name)), names)
        for done, (name, result) in enumerate(zip(names, results, strict=True)):
            progress(done, len(names), "hashing files")
            if isinstance(result, str):
                problems.append((name, result))
                continue
            size, changed, digest, settled = result
            hashes[name] = digest
            if settled:
                index[name] = (size, changed, digest)
    progress(len(names), len(names), "hashing files")
    if {name: tuple(entry) for name, entry in old.items()} != index:
        _write_index(index_path, index)
    return hashes, problems


def _hash(path: Path, old: list | None) -> tuple[int, int, str, bool] | str:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            size, changed = status.st_size, status.st_mtime_ns
            if old is not None and old[0] == size and old[1] == changed:
                return size, changed, str(old[2]), True
            digest = hashlib.sha256()
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        return f"can't be read: {error.strerror}"
    return size, changed, digest.hexdigest(), time.time_ns() - changed > _SETTLED_NS


def _read_index(path: Path) -> dict[str, list]:
    # A damaged or foreign index costs a second look at the files and nothing else.
    with suppress(OSError, ValueError):
        index = json.loads(path.read_text())
        if isinstance(index, dict):
            return {name: entry for name, entry in index.items() if isinstance(entry, list) and len(entry) == 3}
    return {}


def _write_index(path: Path, index: dict[str, tuple[int, int, str]]) -> None:
    # A cache that can't be written is reported where something must be written to it.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps(index))
        draft.replace(path)
