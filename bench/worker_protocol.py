"""What an engine tells a worker process, how the worker's exit code answers, and the files they share. Torch-free."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..results.errors import UserError
from ..results.store import RECORD, TEMPORARY, Store, atomic_file, remove_leftovers
from .imports import Import
from .jobs import Job

# Exit codes of a worker; any other, or a signal, means that it died.
FINISHED, FAILED = 0, 1  # there is a record that says so
UNWRITABLE = 74  # a file could not be written (a full disk); there may be a record of the failure, or no room for one
INTERRUPTED = 75  # stopped on request; training has left a checkpoint
DAMAGED = 76  # what another job has left is damaged; there is no record
OUT_OF_MEMORY = 77  # there is no record; what was asked for `read_shortage` tells
BROKEN_DEVICE = 78  # an error of the GPU itself; there is no record
RANK_DIED = 79  # one of the job's further processes has; there is no record

CHECKPOINT = "checkpoint.safetensors"
RUNG_CHECKPOINT = "rung.safetensors"  # of a training that has stopped at a rung: another job goes on from it
CONTINUES = "continues"  # in a job's `runtime`: the jobs from whose `RUNG_CHECKPOINT` it goes on, the last one first
LEASE = "lease-"  # and a number: see `engines.leases`
# What a pass over samples has collected so far (see `tasks.chunks` and `tasks.encoding`).
_PARTS = ("chunk-*.safetensors", "*.part")
_PART_FOLDERS = "part-*"  # see `tasks.interface.Context.part`
_PROGRESS = "progress"
_BEGAN = "progress.began"  # the first of this attempt: an earlier one may have done the rest
CONFIG = "config.json"  # written when an attempt begins
_SHORTAGE = "out-of-memory"
_PROGRESS_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class WorkerRequest:
    """One attempt at a job: `root` of the output, `cache` of decoded data, torch `device`, CPU `threads`, `log` file.

    The log lies in `log/` in the job's folder. The worker imports `imports` first. Where several machines share the
    folder, `lease` is the file that says the job is this worker's: without it, it leaves no record. After a lack of
    memory batches are computed in `divide` parts where they can be; `memory_fraction` of a GPU is all it may take.
    `uuids` are how CUDA_VISIBLE_DEVICES names the machine's devices, by their own names.
    `peers` are the torch devices of the processes that share its batches.
    """

    job: Job
    root: str
    cache: str
    device: str
    threads: int
    attempt: int
    log: str
    checkpoint_seconds: float
    imports: tuple[Import, ...] = ()
    lease: str = ""
    divide: int = 1
    memory_fraction: float = 1.0
    uuids: Mapping[str, str] = field(default_factory=dict)
    peers: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The job's folder."""
        return Path(self.log).parent.parent

    def to_json(self) -> dict[str, Any]:
        """Plain data, with the job's key so that a reader can tell whether it derives the same one."""
        job = self.job
        names = ("kind", "config", "versions", "depends", "title", "runtime")
        plain = {name: getattr(job, name) for name in names}
        return asdict(self) | {"job": plain, "key": job.key}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WorkerRequest:
        """The inverse. Raises ValueError on a job whose key is another here."""
        job = Job(**data["job"])
        if job.key != data["key"]:
            raise ValueError(f"the request's key {data['key']} is not its job's {job.key}")
        imports = tuple(Import(**item) for item in data.get("imports", ()))
        plain = {name: value for name, value in data.items() if name != "key"}
        return cls(**plain | {"job": job, "imports": imports, "peers": tuple(data.get("peers", ()))})


def start_attempt(folder: Path, *, alone: bool = True) -> Path:
    """Make a job's folder ready for an attempt, whose log file is returned. Raises OSError.

    A record of an earlier failure is removed, so that what is found afterwards is this attempt's; not where others work
    on the folder too, who may have done the job since somebody looked.
    """
    (folder / "log").mkdir(parents=True, exist_ok=True)
    for name in (_SHORTAGE, _BEGAN):  # an earlier attempt's, which say nothing of this one
        (folder / name).unlink(missing_ok=True)
    if alone:
        (folder / RECORD).unlink(missing_ok=True)
    logs = [path.stem.removeprefix("attempt-") for path in (folder / "log").glob("attempt-*.log")]
    return folder / "log" / f"attempt-{1 + max((int(n) for n in logs if n.isdigit()), default=0)}.log"


def remove_temporaries(folder: Path, *, shared: bool) -> None:
    """Remove the temporary files of killed writers; where others share the folder, not of leases: theirs may live."""
    remove_leftovers(folder, spare=LEASE if shared else "")


def is_leftover(name: str) -> bool:
    """Whether a file or folder of that name, in the folder of a finished job, was left by a worker that was killed."""
    known = (CHECKPOINT, _PROGRESS, f"{_PROGRESS}.new", _BEGAN, _SHORTAGE)
    return name in known or any(fnmatchcase(name, p) for p in (f".*{TEMPORARY}", f"{LEASE}*", *_PARTS, _PART_FOLDERS))


def clean_attempt(folder: Path, *, shared: bool = False) -> None:
    """Remove what a job needs only until it is finished: checkpoint, progress, temporary files of killed writers."""
    remove_temporaries(folder, shared=shared)
    parts = (path.name for pattern in _PARTS for path in folder.glob(pattern))
    for name in (CHECKPOINT, _PROGRESS, f"{_PROGRESS}.new", _BEGAN, _SHORTAGE, *parts):
        with suppress(OSError):
            (folder / name).unlink(missing_ok=True)
    for part in folder.glob(_PART_FOLDERS):
        shutil.rmtree(part, ignore_errors=True)


def continue_training(job: Job, folder: Path, store: Store) -> None:
    """Put into the job's folder, where it has no checkpoint, that of the last rung of its training. It is a courtesy:
    without one the training begins anew, and comes to the same bits."""
    if (folder / CHECKPOINT).exists():
        return
    rungs = (store.job_folder(*name.split("/")) for name in job.runtime.get(CONTINUES, ()))
    for source in (folder / RUNG_CHECKPOINT, *(rung / RUNG_CHECKPOINT for rung in rungs)):
        if source.exists():
            with suppress(OSError, UserError), atomic_file(folder / CHECKPOINT) as temporary:
                shutil.copyfile(source, temporary)
            return


def drop_continued(job: Job, store: Store) -> None:
    """Remove the checkpoints of the rungs from which the job, which is finished, went on."""
    for name in job.runtime.get(CONTINUES, ()):
        with suppress(OSError):
            (store.job_folder(*name.split("/")) / RUNG_CHECKPOINT).unlink(missing_ok=True)


class ProgressFile:
    """Writes "done total message" to a small file in the job's folder, at most twice a second; and to another where
    this attempt, or another pass of it, began."""

    def __init__(self, folder: Path) -> None:
        self.path, self.last = folder / _PROGRESS, 0.0
        self._done, self._total = 0, -1

    def __call__(self, done: int, total: int, message: str) -> None:
        now = time.monotonic()
        if now - self.last < _PROGRESS_SECONDS and done != total:
            return
        self.last = now
        temporary = self.path.with_suffix(".new")
        with suppress(OSError):  # progress is a courtesy: a full disk is reported by what matters
            if total != self._total or done < self._done:
                self.path.with_name(_BEGAN).write_text(f"{done} {total} ")
            self._done, self._total = done, total
            temporary.write_text(f"{done} {total} {message}")
            os.replace(temporary, self.path)


def read_progress(folder: Path, *, name: str = _PROGRESS) -> tuple[int, int, str] | None:
    """What the worker wrote last."""
    try:
        done, total, message = (folder / name).read_text().split(" ", 2)
        return int(done), int(total), message
    except (OSError, ValueError):
        return None


def read_began(folder: Path) -> tuple[int, int, float] | None:
    """Where the attempt began: `done` of `total`, and when by the disk's clock (seconds since 1970). None where it has
    not come so far."""
    try:
        began = read_progress(folder, name=_BEGAN)
        return None if began is None else (*began[:2], (folder / _BEGAN).stat().st_mtime)
    except OSError:
        return None


def attempt_since(folder: Path) -> float | None:
    """When the last attempt at the job in `folder` began, by the disk's clock; None where there is none."""
    try:
        return (folder / CONFIG).stat().st_mtime
    except OSError:
        return None


def write_shortage(folder: Path, message: str) -> None:
    """Say what memory was asked for in vain."""
    with suppress(OSError):
        (folder / _SHORTAGE).write_text(message)


def read_shortage(folder: Path) -> str:
    """What the worker said of it, "" where the system ended it without a word."""
    try:
        return (folder / _SHORTAGE).read_text()
    except (OSError, ValueError):
        return ""


def last_progress(folder: Path) -> int | None:
    """When the worker wrote last, in nanoseconds of its file's time; None when it has not."""
    try:
        return (folder / _PROGRESS).stat().st_mtime_ns
    except OSError:
        return None
