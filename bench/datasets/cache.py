"""The bounded cache of decoded data sets: one folder per entry, written whole or not at all, least recently used out.

Layout under the cache folder: `datasets/<key>/` an entry, `datasets/<key>.lock` its lock, `datasets/<name>.name` the
key that a name stands for, `datasets/.new-*` an entry being written. Nothing here knows what an entry holds. No torch.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ...results.digest import file_digest
from ...results.errors import UserError
from ...results.store import atomic_write
from .entry import forget

_STEP = 64 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def default_cache() -> Path:
    """`LATENTBENCH_CACHE`, else the user's cache folder (`XDG_CACHE_HOME` or `~/.cache`) / latentbench."""
    if chosen := os.environ.get("LATENTBENCH_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "latentbench"


def cache_bound() -> int:
    """The cache's bound in bytes: `LATENTBENCH_CACHE_GB` (10^9 bytes each), 50 by default. Raises UserError."""
    text = os.environ.get("LATENTBENCH_CACHE_GB", "50")
    try:
        bound = float(text)
    except ValueError:
        bound = math.nan
    if not bound > 0:
        raise UserError(f"LATENTBENCH_CACHE_GB must be a positive number of gigabytes, got {text!r}")
    return int(min(bound, 1e9) * 1e9)


class PendingEntry:
    """An entry being written: binary files in a temporary folder, with room made in the cache as they grow."""

    def __init__(self, cache: Cache, folder: Path) -> None:
        self.folder = folder
        self._cache = cache
        self._reserved = 0
        self._written = 0
        self._files: list[BinaryIO] = []

    def create(self, name: str) -> BinaryIO:
        """A new file of the entry, open for writing; synced and closed when the entry is finished."""
        file = (self.folder / name).open("xb")
        self._files.append(file)
        return file

    def grow(self, size: int) -> None:
        """Announces `size` more bytes. Raises UserError when the entry outgrows the cache's bound."""
        self._written += size
        if self._written > self._reserved:
            self._reserved = max(self._written, self._reserved + _STEP)
            self._cache.make_room(min(self._reserved, max(self._written, self._cache.bound)))

    def expect(self, size: int) -> None:
        """Raises UserError when an entry of `size` bytes outgrows the cache's bound."""
        if size > self._cache.bound:
            raise self._cache.too_large()

    def shrink(self, size: int) -> None:
        """Takes back `size` announced bytes."""
        self._written -= size

    def digests(self) -> dict[str, str]:
        """SHA-256 of the files that are there so far, by name."""
        for file in self._files:
            file.flush()
        return {Path(file.name).name: file_digest(Path(file.name)) for file in self._files}

    def close(self, *, sync: bool) -> None:
        """Closes the entry's files, on disk if `sync`."""
        for file in self._files:
            if sync:
                file.flush()
                os.fsync(file.fileno())
            with suppress(OSError):
                file.close()
        if sync:
            _sync_folder(self.folder)


class Cache:
    """The entries under `root`. The bound is read from the environment when the cache is opened."""

    def __init__(self, root: Path) -> None:
        self.root = root / "datasets"
        self.bound = cache_bound()

    def path(self, key: str) -> Path:
        """Where the entry `key` is, or would be."""
        return self.root / key

    def find(self, key: str) -> Path | None:
        """The entry's folder if it is there, marked as used now."""
        folder = self.path(key)
        if not (folder / "meta.json").is_file():
            return None
        with suppress(OSError):
            os.utime(folder)
        return folder

    def resolve(self, name: str) -> str | None:
        """The key of the entry that `name` was remembered for, if that entry is still there."""
        try:
            key = (self.root / f"{name}.name").read_text()
        except OSError:
            return None
        return key if (self.path(key) / "meta.json").is_file() else None

    def remember(self, name: str, key: str) -> None:
        """Makes `resolve(name)` give `key`. A cache that can't be written forgets."""
        target = self.root / f"{name}.name"
        with suppress(OSError, UserError):
            if not target.exists() or target.read_text() != key:
                atomic_write(target, key.encode())

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Holds the entry against other processes; waits until they are done with it.

        An entry in a cache that can't be written needs no lock: nobody can change it.
        """
        if not os.access(self.root, os.W_OK) and self.find(key) is not None:
            yield
            return
        with _explained(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            file = (self.root / f"{key}.lock").open("ab")
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def new(self, key: str) -> Iterator[PendingEntry]:
        """A draft that becomes the entry `key` when the block ends well and leaves nothing when it does not."""
        with _explained(self.root):
            self._sweep()
            folder = Path(tempfile.mkdtemp(prefix=".new-", dir=self.root))
        draft = PendingEntry(self, folder)
        try:
            # The lock on the draft's own folder tells `_sweep` that its writer lives.
            handle = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                with _explained(self.root):
                    yield draft
                    draft.close(sync=True)
                    folder.chmod(0o755)
                    shutil.rmtree(self.path(key), ignore_errors=True)
                    folder.rename(self.path(key))
                    _sync_folder(self.root)
            finally:
                os.close(handle)
        except BaseException:
            draft.close(sync=False)
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def make_room(self, size: int) -> None:
        """Removes the least recently used entries until `size` more bytes fit the bound. Raises UserError if they
        can't. An entry that another process is opening stays."""
        if size > self.bound:
            raise self.too_large()
        entries = sorted(self._entries(), key=lambda entry: entry[0])
        used = sum(entry[1] for entry in entries)
        for _, entry_size, folder in entries:
            if used + size <= self.bound:
                break
            if self._evict(folder):
                used -= entry_size

    def too_large(self) -> UserError:
        """The error for an entry that can't fit, whatever else is removed."""
        return UserError(
            f"cache: the decoded data set needs more than LATENTBENCH_CACHE_GB={self.bound / 1e9:g}; take data.stream "
            "= true (of files), lower data.samples, data.per_file or data.size, or raise LATENTBENCH_CACHE_GB"
        )

    def _entries(self) -> Iterator[tuple[int, int, Path]]:
        for folder in self.root.iterdir():
            with suppress(FileNotFoundError, NotADirectoryError):
                if not folder.name.startswith(".") and folder.is_dir():
                    size = sum(file.stat().st_size for file in folder.iterdir())
                    yield folder.stat().st_mtime_ns, size, folder

    def drop(self, key: str) -> None:
        """Removes the entry `key`, whose lock the caller holds. Raises UserError when that can't be done."""
        with _explained(self.root):
            self._remove(self.path(key))

    def _evict(self, folder: Path) -> bool:
        with (self.root / f"{folder.name}.lock").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
            self._remove(folder)
        return True

    def _remove(self, folder: Path) -> None:
        # Renamed first: a half-removed entry must not be found.
        doomed = self.root / f".old-{folder.name}-{os.getpid()}"
        with suppress(FileNotFoundError):
            folder.rename(doomed)
        forget(folder)
        shutil.rmtree(doomed, ignore_errors=True)

    def _sweep(self) -> None:
        """Removes drafts whose writer was killed."""
        for folder in (*self.root.glob(".new-*"), *self.root.glob(".old-*")):
            with suppress(OSError):
                if time.time() - folder.stat().st_mtime < 60:  # its writer may not hold the lock yet
                    continue
                handle = os.open(folder, os.O_RDONLY)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
                finally:
                    os.close(handle)


@contextmanager
def _explained(where: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise UserError(
                f"cache: the disk under {where} is full; free some space or set LATENTBENCH_CACHE"
            ) from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise UserError(
                f"cache: {where} can't be written ({error.strerror}); set LATENTBENCH_CACHE to a folder that can"
            ) from None
        raise


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
