"""The files of a data set as a table on disk: listed, hashed once, and read in the order of their content. No torch.

The table keeps memory flat however many files there are. What was hashed is remembered under the cache as it is found
out, so that a stopped program goes on where it was and a second one reads no unchanged file again.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from .files import FileState, HashedFile, hash_file
from .source import Progress

# A file changed less than this before it was hashed may change again within the clock's grain: not remembered.
_SETTLED_NS = 2_000_000_000
_BATCH = 2048  # files hashed between two looks at the clock
_TOGETHER = 16  # of them by one thread: most are known, and take as long as handing them over
_COMMIT_SECONDS = 2.0
_PATIENCE = 30.0  # seconds that another process may hold the table

# `container` is the file on disk, which for a member of an archive is the archive; `begin` and `length` are its place
# in it. Names are bytes: those of a file system need not be text.
_TABLES = """
CREATE TABLE IF NOT EXISTS known(
  name BLOB PRIMARY KEY, size INT, modified INT, changed INT, inode INT, digest BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS archives(
  name BLOB PRIMARY KEY, reader TEXT, size INT, modified INT, changed INT, inode INT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS members(
  container BLOB, name BLOB, begin INT, length INT, label BLOB, digest BLOB, problem TEXT,
  PRIMARY KEY(container, name)) WITHOUT ROWID;
CREATE TEMP TABLE listed(
  name BLOB PRIMARY KEY, container BLOB, begin INT, length INT, label BLOB, size INT, modified INT, changed INT,
  inode INT, digest BLOB, problem TEXT) WITHOUT ROWID;
"""
_RANKED = """
SELECT min(name), container, begin, length, label, size, modified, changed, inode, digest FROM listed
WHERE digest IS NOT NULL GROUP BY digest ORDER BY digest
"""


_RANKED_TABLE = """
CREATE TABLE files(
  rank INTEGER PRIMARY KEY, name BLOB, digest BLOB, label INT, container BLOB, begin INT, length INT, size INT,
  modified INT, changed INT, inode INT);
"""


class ListedFile(NamedTuple):
    """A file of a data set: its name, SHA-256 (hex), class, where its bytes are, and the state of what holds them."""

    name: str
    digest: str
    label: str | None
    container: str
    begin: int
    length: int
    state: FileState


class Member(NamedTuple):
    """A file in an archive, as its reader lists it; `problem` says why it can't be read."""

    name: str
    begin: int
    length: int
    label: str | None
    digest: str | None
    problem: str | None = None


class FileTable:
    """A listing of the files under `root`. A context manager."""

    def __init__(self, cache: Path, root: Path) -> None:
        self.root = root
        name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:24]
        self._db = _opened(cache / "hashes" / f"{name}.sqlite")
        self._committed = time.monotonic()
        self.passed_over: Counter[str] = Counter()  # files beside those listed, by the end of their name

    def __enter__(self) -> FileTable:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget the listing; what was hashed stays."""
        self._commit()
        self._db.close()

    def add_files(
        self, names: Iterable[str], progress: Progress, label: Callable[[str], str | None] = lambda name: None
    ) -> None:
        """List files by their names relative to the root and hash what is not known of them."""
        rows = ((os.fsencode(name), os.fsencode(name), _encoded(label(name))) for name in names)
        while batch := list(islice(rows, _BATCH)):
            self._db.executemany(
                "INSERT OR IGNORE INTO listed(name, container, begin, length, label) VALUES (?, ?, 0, -1, ?)", batch
            )
        total, done, last = self.listed, 0, b""
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            while batch := self._db.execute(
                "SELECT l.name, k.size, k.modified, k.changed, k.inode, k.digest FROM listed l "
                "LEFT JOIN known k ON k.name = l.name WHERE l.name > ? ORDER BY l.name LIMIT ?",
                (last, _BATCH),
            ).fetchall():
                groups = [batch[start : start + _TOGETHER] for start in range(0, len(batch), _TOGETHER)]
                for row, hashed in zip(batch, chain.from_iterable(pool.map(self._hash, groups)), strict=True):
                    progress(done, total, "hashing files")
                    self._set(row[0], row[1:], hashed)
                    done += 1
                last = batch[-1][0]
                self._commit(after=_COMMIT_SECONDS)
        progress(total, total, "hashing files")

    def add_archives(
        self,
        names: Iterable[str],
        reader: str,
        read: Callable[[Path, str], Iterator[Member]],
        progress: Progress,
    ) -> None:
        """List the members of archives; `read` gives those of one that is not known by this `reader` yet.

        Raises what `read` raises.
        """
        names = list(names)
        for done, name in enumerate(names):
            progress(done, len(names), "reading archives")
            self._add_archive(os.fsencode(name), name, reader, read)
        progress(len(names), len(names), "reading archives")

    def _add_archive(self, key: bytes, name: str, reader: str, read: Callable[[Path, str], Iterator[Member]]) -> None:
        path = self.root / name
        status = os.stat(path)
        state = FileState(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        known = self._db.execute(
            "SELECT size, modified, changed, inode FROM archives WHERE name = ? AND reader = ?", (key, reader)
        ).fetchone()
        if known != tuple(state):
            self._db.execute("DELETE FROM archives WHERE name = ?", (key,))
            self._db.execute("DELETE FROM members WHERE container = ?", (key,))
            rows = (
                (key, os.fsencode(m.name), m.begin, m.length, _encoded(m.label), _raw(m.digest), m.problem)
                for m in read(path, name)
            )
            while batch := list(islice(rows, _BATCH)):
                self._db.executemany("INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?, ?, ?, ?)", batch)
            if _settled(state):
                self._db.execute("INSERT INTO archives VALUES (?, ?, ?, ?, ?, ?)", (key, reader, *state))
        self._db.execute(
            "INSERT OR IGNORE INTO listed SELECT name, container, begin, length, label, ?, ?, ?, ?, digest, problem "
            "FROM members WHERE container = ?",
            (*state, key),
        )
        self._commit()

    def files(self) -> Iterator[ListedFile]:
        """The files by rank, which is the order of their digests: no two with the same content."""
        return (
            ListedFile(
                os.fsdecode(row[0]), row[9].hex(), None if row[4] is None else os.fsdecode(row[4]),
                os.fsdecode(row[1]), row[2], row[3], FileState(*row[5:9]),
            )
            for row in self._db.execute(_RANKED)
        )  # fmt: skip

    def write_ranked(self, path: Path, classes: tuple[str, ...]) -> int:
        """Write the files by rank into a table of their own at `path`, for `RankedFiles`; returns how many there are.

        Raises sqlite3.Error when it can't be written.
        """
        label = {name: index for index, name in enumerate(classes)}
        with closing(sqlite3.connect(path)) as db:
            db.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _RANKED_TABLE)
            rows = (
                (
                    *(rank, os.fsencode(f.name), bytes.fromhex(f.digest), label.get(f.label or "", -1)),
                    *(os.fsencode(f.container), f.begin, f.length, *f.state),
                )
                for rank, f in enumerate(self.files())
            )
            db.executemany(f"INSERT INTO files VALUES ({', '.join('?' * 11)})", rows)
            db.commit()
            return int(db.execute("SELECT count(*) FROM files").fetchone()[0])

    def hashes(self) -> dict[str, HashedFile]:
        """Each file's digest and state by name, duplicates included."""
        rows = self._db.execute(
            "SELECT name, digest, size, modified, changed, inode FROM listed WHERE digest IS NOT NULL ORDER BY name"
        )
        return {os.fsdecode(name): HashedFile(digest.hex(), FileState(*state)) for name, digest, *state in rows}

    def problems(self) -> list[tuple[str, str]]:
        """The files that can't be read, with reasons, by name."""
        rows = self._db.execute("SELECT name, problem FROM listed WHERE digest IS NULL ORDER BY name")
        return [(os.fsdecode(name), problem) for name, problem in rows]

    @property
    def listed(self) -> int:
        """How many files are listed."""
        return self._number("SELECT count(*) FROM listed")

    @property
    def total(self) -> int:
        """How many files differ in content."""
        return self._number("SELECT count(DISTINCT digest) FROM listed")

    @property
    def duplicates(self) -> int:
        """How many files hold what another one holds."""
        return self._number("SELECT count(digest) FROM listed") - self.total

    def classes(self) -> tuple[str, ...]:
        """The labels of all files, sorted; empty where a file has none or "", or where all have the same."""
        if self._number("SELECT count(*) FROM listed WHERE digest IS NOT NULL AND coalesce(label, x'') = x''"):
            return ()
        rows = self._db.execute("SELECT DISTINCT label FROM listed WHERE digest IS NOT NULL")
        labels = sorted(os.fsdecode(label) for (label,) in rows)
        return tuple(labels) if len(labels) >= 2 else ()

    def _number(self, query: str) -> int:
        return int(self._db.execute(query).fetchone()[0])

    def _hash(self, rows: list[tuple[Any, ...]]) -> list[HashedFile | str]:
        olds = (None if row[5] is None else HashedFile(row[5].hex(), FileState(*row[1:5])) for row in rows)
        return [hash_file(self.root / os.fsdecode(row[0]), old) for row, old in zip(rows, olds, strict=True)]

    def _set(self, name: bytes, known: tuple[Any, ...], hashed: HashedFile | str) -> None:
        if isinstance(hashed, str):
            self._db.execute("UPDATE listed SET problem = ? WHERE name = ?", (hashed, name))
            return
        state, digest = hashed.state, bytes.fromhex(hashed.digest)
        self._db.execute(
            "UPDATE listed SET size = ?, modified = ?, changed = ?, inode = ?, digest = ? WHERE name = ?",
            (*state, digest, name),
        )
        if known != (*state, digest) and _settled(state):
            self._db.execute("INSERT OR REPLACE INTO known VALUES (?, ?, ?, ?, ?, ?)", (name, *state, digest))

    def _commit(self, after: float = 0.0) -> None:
        if time.monotonic() - self._committed >= after:
            with suppress(sqlite3.Error):  # a full disk: what is not remembered is hashed again
                self._db.commit()
            self._committed = time.monotonic()


class RankedFiles:
    """What `FileTable.write_ranked` wrote: the file of each rank, read when it is asked for."""

    def __init__(self, path: Path) -> None:
        uri = f"file:{quote(str(path.absolute()))}?immutable=1"
        self._db = sqlite3.connect(uri, uri=True, check_same_thread=False)

    def __getitem__(self, rank: int) -> ListedFile:
        row = self._db.execute("SELECT * FROM files WHERE rank = ?", (int(rank),)).fetchone()
        if row is None:
            raise IndexError(rank)
        return ListedFile(
            os.fsdecode(row[1]), row[2].hex(), None, os.fsdecode(row[4]), row[5], row[6], FileState(*row[7:11])
        )

    def labels(self, count: int) -> np.ndarray:
        """Each file's label, int64 `[count]`, by rank; -1 where it has none."""
        rows = self._db.execute("SELECT label FROM files ORDER BY rank")
        return np.fromiter((label for (label,) in rows), np.int64, count)

    def close(self) -> None:
        """Close the table."""
        self._db.close()


def hash_files(
    root: Path, names: list[str], *, cache: Path, progress: Progress
) -> tuple[dict[str, HashedFile], list[tuple[str, str]]]:
    """Each file's hash by name, and the files that can't be read, with reasons."""
    with FileTable(cache, root) as table:
        table.add_files(names, progress)
        return table.hashes(), table.problems()


def _settled(state: FileState) -> bool:
    return max(state.modified, state.changed) < time.time_ns() - _SETTLED_NS


def _encoded(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


def _raw(digest: str | None) -> bytes | None:
    return None if digest is None else bytes.fromhex(digest)


def _opened(path: Path) -> sqlite3.Connection:
    """The table at `path`; a damaged one is begun anew, and a cache that can't be written remembers nothing (which is
    reported where something must be written to it)."""
    for _ in range(2):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(path, timeout=_PATIENCE, check_same_thread=False)
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("BEGIN IMMEDIATE")  # the file can be written, and is one of these
            db.commit()
            db.executescript(_TABLES)
            return db
        except (sqlite3.OperationalError, OSError):
            break
        except sqlite3.DatabaseError:
            with suppress(OSError):
                path.unlink()
    db = sqlite3.connect(":memory:", check_same_thread=False)
    db.executescript(_TABLES)
    return db
