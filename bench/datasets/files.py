"""Files of a folder: in an order that does not depend on the file system, and what they hold. No torch."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ...results.errors import UserError, nearest

_CHUNK = 1 << 20
# A file that changes each time it is hashed is being written.
_ATTEMPTS = 3
PASSED_OVER = "of other kinds passed over"
_MOST_KINDS = 6


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
    """All files under `root` as sorted relative paths, and what could not be listed, with reasons: see `walk`."""
    problems: list[tuple[str, str]] = []
    return sorted(walk(root, extensions, problems)), problems


def walk(
    root: Path, extensions: Iterable[str] | None, problems: list[tuple[str, str]], others: Counter[str] | None = None
) -> Iterator[str]:
    """The files under `root` as relative paths ("/" between parts), as they are come upon; what can't be listed joins
    `problems`, with the reason.

    Recursive; names that begin with a dot are ignored; links are followed, a folder reached twice is read once.
    `extensions` (lower case, with the dot) picks files by the end of their name, whatever its case; `others` counts the
    ends of the names that it does not pick.
    """
    endings = None if extensions is None else tuple(extensions)
    seen: set[tuple[int, int]] = set()
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        folders = []
        try:
            status = (root / prefix).stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(root / prefix) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    # os.path's tests, unlike the entry's own, are False where a link can't be followed.
                    linked = entry.is_symlink()
                    if os.path.isdir(entry.path) if linked else entry.is_dir():
                        folders.append(f"{prefix}{entry.name}/")
                    elif endings is None or entry.name.lower().endswith(endings):
                        if os.path.isfile(entry.path) if linked else entry.is_file():
                            yield prefix + entry.name
                        else:
                            problems.append((prefix + entry.name, "no regular file (a broken link?)"))
                    elif others is not None:
                        others[os.path.splitext(entry.name)[1].lower() or "none"] += 1
        except OSError as error:
            problems.append((prefix or ".", f"can't be listed: {error.strerror}"))
        # The first by name is read first: of two links to a folder, always the same one counts.
        waiting += sorted(folders, reverse=True)


def passed_over(others: Mapping[str, int]) -> str:
    """How many files were passed over for the ends of their names: "3 files of other kinds passed over: .caf, .txt";
    "" for none."""
    count = sum(others.values())
    if not count:
        return ""
    names = sorted(others, key=lambda name: (-others[name], name))
    kinds = ", ".join(names[:_MOST_KINDS]) + (", ..." if len(names) > _MOST_KINDS else "")
    return f"{count:,} file{'' if count == 1 else 's'} {PASSED_OVER}: {kinds}"


def hash_file(path: Path, old: HashedFile | None) -> HashedFile | str:
    """The file's hash, or why it can't be read; `old` is what was known of it, which holds where its state does."""
    try:
        if old is not None and file_state(path) == old.state:
            return old
        for _ in range(_ATTEMPTS):
            with path.open("rb") as file:
                state = file_state(file.fileno())
                digest = hashlib.sha256()
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
            if file_state(path) == state:
                return HashedFile(digest.hexdigest(), state)
    except OSError as error:
        return f"can't be read: {error.strerror}"
    return "can't be read: it changes while it is read"
