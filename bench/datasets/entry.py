"""Whether an entry of the cache is what was written: its index has the SHA-256 of each file and of itself. No torch.

An index and the small files are compared whenever the entry is opened. `samples.bin` may be large: it is read whole
(0.6 s a gigabyte and core, from memory) when a run begins, and else where its place on disk or its times have changed
since it was last compared, which a file beside the entry remembers.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...results.digest import file_digest

INDEX = "meta.json"
_BULK = ("samples.bin", "files.sqlite")  # an entry has one of them


class DamagedEntryError(ValueError):
    """The entry is not what was written; `str(error)` says what is wrong with it."""


def index_bytes(meta: dict[str, Any]) -> bytes:
    """The bytes of `meta.json`, whose last key is the digest of all before it."""
    return _dump(meta | {"digest": hashlib.sha256(_dump(meta)).hexdigest()})


def read_index(folder: Path, *, whole: bool = False) -> dict[str, Any]:
    """What `meta.json` in `folder` says, once the entry's files have been compared with it; `whole` leaves none out.

    Raises DamagedEntryError.
    """
    try:
        content = (folder / INDEX).read_bytes()
        meta: dict[str, Any] = json.loads(content)
        digest = meta.pop("digest")
        if content != _dump(meta | {"digest": digest}) or digest != hashlib.sha256(_dump(meta)).hexdigest():
            raise DamagedEntryError(f"{INDEX} has another digest than was written")
        bulk = _bulk(meta)
        for name, expected in meta["sha256"].items():
            remembered = name == bulk and not whole and _memory(folder) == _signature(folder / name)
            if not remembered and file_digest(folder / name) != expected:
                raise DamagedEntryError(f"{name} has another digest than was written")
    except DamagedEntryError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DamagedEntryError(f"{INDEX} or what it names can't be read ({reason})") from None
    remember(folder, meta)
    return meta


def remember(folder: Path, meta: dict[str, Any] | None = None) -> None:
    """Note that the entry's large file has its digest now. A cache that can't be written forgets."""
    with suppress(OSError, ValueError, KeyError):
        meta = json.loads((folder / INDEX).read_bytes()) if meta is None else meta
        now = _signature(folder / _bulk(meta))
        if _memory(folder) != now:
            _memory_path(folder).write_text(now)


def forget(folder: Path) -> None:
    """Have `samples.bin` compared again when the entry is next opened."""
    with suppress(OSError):
        _memory_path(folder).unlink(missing_ok=True)


def _bulk(meta: dict[str, Any]) -> str:
    """The name of the entry's large file."""
    return next(name for name in _BULK if name in meta["sha256"])


def _memory(folder: Path) -> str | None:
    try:
        return _memory_path(folder).read_text()
    except (OSError, ValueError):
        return None


def _memory_path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.verified")


def _signature(path: Path) -> str:
    status = path.stat()
    return f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _dump(meta: dict[str, Any]) -> bytes:
    return json.dumps(meta, indent=1).encode()
