"""An output folder: one folder per job with its record, and the suites that were run there. The one atomic write.

OUT/jobs/<kind>/<key>/record.json     one job; beside it config.json, log/, curve.jsonl and the job's artifacts
OUT/suites/<suite>.json               the suite's cells, the jobs of each, and what it claims
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NotRequired
from urllib.parse import quote

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # typing's own before Python 3.12 is not enough for pydantic

from .canonical import pretty
from .digest import file_digest
from .errors import UserError
from .record import InvalidRecord, NewerRecord, Record, explain, parse, plain
from .record_file import RECORD as RECORD
from .record_file import UPDATE

SUITE_SCHEMA = 1

TEMPORARY = ".latentbench-tmp"
_CHUNK = 1 << 16  # bytes that are read at once: more than nearly all records have


@contextmanager
def atomic_file(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """A temporary path in `path`'s folder to write to; leaving the block puts it in `path`'s place, all or nothing.

    Without `replace` a file that is there stays, and FileExistsError is raised: of several processes, on whatever
    machines that share the folder, one succeeds.

    The file is flushed to disk before it is renamed and the folder after, so that a crash leaves the old content or
    the new. Missing folders are made. On any exception the temporary file is removed; an OSError (full disk,
    read-only or forbidden folder) becomes a UserError of one line that names `path`.

    Accepted: two flushes cost some milliseconds a file; a killed writer leaves its temporary file (`remove_leftovers`);
    a link at `path` is replaced, not followed (of a path that the user named `results.output_file` follows it); of two
    processes that write one path, the last to finish stays; the new file has the writer's owner and umask, not those of
    the old one. A device, a pipe, a socket or a folder at `path` stays: UserError.
    """
    # A name that nobody can foresee, and that no link stands under: in a folder of many it would lead elsewhere.
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}{TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _refuse_others(path)
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # a library that wrote it may have made it its owner's alone
        _sync(temporary)
        if replace:
            os.replace(temporary, path)
        else:
            _link(temporary, path)
        _sync(path.parent, folder=True)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and (replace or not isinstance(error, FileExistsError)):
            raise UserError(f"cannot write {path}: {error.strerror or error}{_CURES.get(error.errno, '')}") from error
        raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` to fill; leaving the block puts it in `path`'s place, all or nothing.

    `path` may be an empty folder; anything else there stays, and UserError is raised. On any exception the temporary
    folder is removed; a killed writer leaves it. An OSError becomes a UserError of one line that names `path`.
    """
    path = Path(os.path.realpath(path))  # not a link, which no folder could replace
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}{TEMPORARY}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        os.rename(temporary, path)
        _sync(path.parent, folder=True)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            raise UserError(f"cannot write {path}: {error.strerror or error}{_CURES.get(error.errno, '')}") from error
        raise


def atomic_write(path: Path, content: bytes) -> None:
    """Put `content` in the file `path`, all or nothing: see `atomic_file`. Raises UserError."""
    with atomic_file(path) as temporary:
        _fill(temporary, content)


def atomic_create(path: Path, content: bytes) -> bool:
    """Put `content` in the file `path` unless there is one; returns whether there was none. Raises UserError."""
    try:
        with atomic_file(path, replace=False) as temporary:
            _fill(temporary, content)
    except FileExistsError:
        return False
    return True


def _fill(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)


def _refuse_others(path: Path) -> None:
    """Raises OSError for a device, a pipe, a socket or a folder at `path`, whose place no file should take."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise OSError(errno.EEXIST, "it is a device, a pipe or a socket, and no file")


def _link(temporary: Path, path: Path) -> None:
    """Give the file the name `path`, unless that is taken: FileExistsError.

    A link is one step also on network disks, where the answer may get lost: the count of names tells then. Disks
    without links have the name made first and filled after.
    """
    try:
        os.link(temporary, path)
    except OSError as error:
        if temporary.stat().st_nlink == 2:
            pass
        elif error.errno in _NO_LINKS:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            os.replace(temporary, path)
            return
        else:
            raise
    temporary.unlink()


def remove_leftovers(folder: Path, *, spare: str = "") -> None:
    """Remove the temporary files that a killed writer left in `folder` (not below). For the folder's one owner.

    Those of files whose name begins with `spare`, if any, are left: others may be writing them.
    """
    for path in folder.glob(f".*{TEMPORARY}"):
        if spare and path.name.startswith(f".{spare}"):
            continue
        with suppress(OSError):
            path.unlink()


# The order in suites' files that do not state it, which are of older versions.
_KINDS = [
    *("data", "encoder", "reference", "tokenizer", "latents"),
    *("reconstruction", "prior", "generation", "modelability", "probes"),
]


# A cell's further keys are facts of it: rate, shape of the latents, prior.
@with_config(ConfigDict(extra="allow"))
class SuiteCell(TypedDict):
    """A cell as a suite's file has it; `jobs` are "<kind>/<key>" by kind, `shared` those that they need beside."""

    cell: str
    dataset: str
    modality: str
    recipe: str
    label: str
    axes: dict[str, Any]
    seed: int
    jobs: dict[str, Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*/[^/\x00]+$")]]
    shared: NotRequired[list[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*/[^/\x00]+$")]]]


class SuiteFile(TypedDict):
    """A suite's file: `kinds` are those of its jobs, in the order in which they depend on each other; `sha256` is the
    digest of the file without it (none in files of older versions)."""

    schema: Annotated[int, Field(ge=SUITE_SCHEMA, le=SUITE_SCHEMA)]
    suite: str
    cells: list[SuiteCell]
    kinds: list[str]
    claims: NotRequired[list[dict[str, Any]]]
    sha256: NotRequired[str]


class Store:
    """The records and suites under `root`. Nothing is read or made before it is asked for."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self._jobs = os.path.join(self.root, "jobs")

    def job_folder(self, kind: str, key: str) -> Path:
        """`root/jobs/<kind>/<key>`; not created."""
        return Path(self.root, "jobs", kind, key)

    def outcome(self, kind: str, key: str) -> Record | None:
        """How the job ended: its failed record, or its finished one if all its artifacts are there in full size.

        None when there is neither: the job is still to be done.
        """
        record = self.load_any(kind, key)
        return record if record is None or record.status == "failed" or self.is_complete(record) else None

    def load(self, kind: str, key: str) -> Record | None:
        """The job's finished record; None without one that is valid and whose artifacts are all there in full size."""
        record = self.outcome(kind, key)
        return record if record is not None and record.status == "finished" else None

    def load_any(self, kind: str, key: str) -> Record | None:
        """The job's valid record, finished or failed, its artifacts unchecked; None without one."""
        try:
            return self.read(kind, key)
        except InvalidRecord:
            return None

    def read(self, kind: str, key: str) -> Record:
        """As `load_any`, but raises InvalidRecord with the reason why there is no valid record."""
        return Record.from_bytes(self.read_bytes(kind, key), kind=kind, key=key)

    def read_bytes(self, kind: str, key: str, *, size: int | None = None) -> bytes:
        """What stands in the job's record, which is read in one go where it has the `size` that it should have. Raises
        InvalidRecord where there is none that can be read."""
        try:
            # No objects of paths and files, which take longer than the reading: there may be 100,000 records.
            file = os.open(f"{self._jobs}/{kind}/{key}/{RECORD}", os.O_RDONLY)
            try:
                content = os.read(file, (size or _CHUNK) + 1)
                while len(content) != size and (more := os.read(file, _CHUNK)):
                    content += more
                return content
            finally:
                os.close(file)
        except (OSError, ValueError) as error:  # ValueError: a key that no folder can be called by
            raise InvalidRecord(getattr(error, "strerror", None) or str(error)) from None

    def is_complete(self, record: Record) -> bool:
        """Whether the record's artifacts are there in full size."""
        if not record.artifacts:
            return True
        folder = f"{self._jobs}/{record.kind}/{record.key}"
        try:
            return all(os.stat(os.path.join(folder, name)).st_size == size for name, size in record.artifacts.items())
        except (OSError, ValueError):
            return False

    def damage(self, record: Record) -> str | None:
        """What is wrong with the finished record's artifacts, in some words; None when each has its digest.

        Reads them all: 0.6 s a gigabyte and core where they lie in memory.
        """
        folder = self.job_folder(record.kind, record.key)
        for name, size in record.artifacts.items():
            try:
                if (folder / name).stat().st_size != size:
                    return f"{name} has another size than its record says"
                if name in record.digests and file_digest(folder / name) != record.digests[name]:
                    return f"{name} has another digest than its record says"
            except (OSError, ValueError) as error:
                return f"{name} can't be read ({getattr(error, 'strerror', None) or error})"
        return None

    def discard(self, record: Record) -> None:
        """Remove the record, so that its job counts as not done. Raises UserError when that can't be."""
        path = self.job_folder(record.kind, record.key) / RECORD
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"cannot remove {path}: {error.strerror or error}{_CURES.get(error.errno, '')}") from None

    def save(self, record: Record, *, replace: bool = True) -> bool:
        """Write the record atomically into its job's folder, and return whether it was. Raises UserError when it can't
        be written, and where it would replace one of a newer version.

        Without `replace` the first record stays: of several workers on one job, that of the first to finish counts.
        """
        path = self.job_folder(record.kind, record.key) / RECORD
        if not replace:
            return atomic_create(path, record.to_bytes())
        if self.is_newer(record.kind, record.key):
            raise UserError(f"cannot write {path}: there is one of a newer latentbench, which is kept; {UPDATE}")
        atomic_write(path, record.to_bytes())
        return True

    def is_newer(self, kind: str, key: str) -> bool:
        """Whether the job has a record of a newer version, which nobody may replace who can't read it."""
        try:
            self.read(kind, key)
        except NewerRecord:
            return True
        except InvalidRecord:
            pass
        return False

    def iterate(self) -> Iterator[Record]:
        """All valid records, finished and failed, by kind and key."""
        for kind, key in self.folders():
            record = self.load_any(kind, key)
            if record is not None:
                yield record

    def folders(self) -> Iterator[tuple[str, str]]:
        """Kind and key of all jobs that have a folder, in order, with a record or without."""
        for kind in _folders(self.root / "jobs"):
            for folder in _folders(kind):
                yield kind.name, folder.name

    def suite_path(self, suite: str) -> Path:
        """Where the suite's cells are kept; the name is percent-encoded, so that any name is a file's."""
        return self.root / "suites" / f"{quote(suite, safe=' ')}.json"

    def write_suite(
        self,
        suite: str,
        cells: Sequence[dict[str, Any]],
        *,
        kinds: Sequence[str] = (),
        claims: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Write the suite's cells atomically, with the order in which its kinds of job depend on each other, and its
        claims. Raises UserError when they can't be written."""
        path = self.suite_path(suite)
        if (schema := _suite_schema(path)) > SUITE_SCHEMA:
            raise UserError(f"cannot write {path}: {_newer_suite(schema)}")
        data: dict[str, Any] = {"schema": SUITE_SCHEMA, "suite": suite, "cells": [plain(cell) for cell in cells]}
        data |= {"kinds": list(kinds)} if kinds else {}
        data |= {"claims": [plain(claim) for claim in claims]} if claims else {}
        atomic_write(path, pretty(data | {"sha256": _suite_digest(data)}))

    def read_suites(self) -> list[SuiteFile]:
        """All suites that were run here, by file name. Raises UserError naming the file that is damaged."""
        try:
            paths = sorted(path for path in (self.root / "suites").iterdir() if path.suffix == ".json")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(f"cannot read {self.root / 'suites'}: {error.strerror or error}") from None
        return [_read_suite(path) for path in paths]


@cache
def _suite_file() -> TypeAdapter[SuiteFile]:
    return TypeAdapter(SuiteFile)


def _suite_schema(path: Path) -> int:
    """The version of the suite's file at `path`; 0 without one."""
    try:
        match = _SUITE_SCHEMA.search(path.read_bytes())
    except OSError:
        return 0
    return int(match[1]) if match else 0


def _newer_suite(schema: int) -> str:
    return f"schema {schema} is newer than this version reads (up to {SUITE_SCHEMA}); {UPDATE}"


def _suite_digest(data: dict[str, Any]) -> str:
    return hashlib.sha256(pretty({name: value for name, value in data.items() if name != "sha256"})).hexdigest()


# The top level's own: text can't look like it, since JSON's strings hold no newline.
_SUITE_SCHEMA = re.compile(rb'\n  "schema": ([0-9]{1,9})[,\n]')
_SUITE_SEAL = re.compile(rb'\n  "sha256": "([0-9a-f]{64})",(?=\n)')


def _is_as_written(content: bytes) -> bool:
    """Whether the file is, to the byte, one that `write_suite` wrote: of many cells much sooner known than the rest."""
    match = _SUITE_SEAL.search(content)
    if match is None:
        return False
    digest = hashlib.sha256(content[: match.start()])
    digest.update(memoryview(content)[match.end() :])
    return digest.hexdigest().encode() == match[1]


def _has_its_digest(data: dict[str, Any]) -> bool:
    return bool(data.get("sha256", digest := _suite_digest(data)) == digest)


def _read_suite(path: Path) -> SuiteFile:
    try:
        data = parse(content := path.read_bytes())
        if isinstance(data, dict) and isinstance(schema := data.get("schema"), int) and schema > SUITE_SCHEMA:
            raise UserError(f"{path}: {_newer_suite(schema)}")
        if isinstance(data, dict) and not (_is_as_written(content) or _has_its_digest(data)):
            raise InvalidRecord("its digest (sha256) is another: damaged, or changed by hand")
        return _suite_file().validate_python({"kinds": _KINDS, **data} if isinstance(data, dict) else data, strict=True)
    except OSError as error:
        reason = error.strerror or str(error)
    except ValidationError as error:
        reason = explain(error)
    except InvalidRecord as error:
        reason = str(error)
    raise UserError(f"{path}: not a suite's cells: {reason}; run the suite again to write it anew")


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


_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)

_CURES: dict[int | None, str] = {
    errno.ENOSPC: "; free some space or choose another folder",
    errno.EDQUOT: "; free some space or choose another folder",
    errno.EACCES: "; choose a folder that you may write to",
    errno.EPERM: "; choose a folder that you may write to",
    errno.EROFS: "; choose a folder that you may write to",
}
