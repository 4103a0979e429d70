"""What a run's folder holds that none of its records needs. Torch-free."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..results.activity import BEAT, WORKERS, ended_here
from ..results.errors import UserError
from ..results.record import Record
from ..results.store import RECORD, Store
from .status import jobs_of
from .training_log import CURVE
from .worker_protocol import CONFIG, RUNG_CHECKPOINT, is_leftover

_KEPT = (RECORD, CONFIG, "log", CURVE, RUNG_CHECKPOINT)
_KILLED = "left by a killed worker"
_UNNAMED = "of jobs that no suite names any more"
_GONE = "of processes that are gone"


@dataclass(frozen=True, kw_only=True)
class Waste:
    """A file or folder that may go: why, and its size in bytes."""

    path: Path
    why: str
    size: int


def waste(root: Path) -> list[Waste]:
    """What may go. Nothing that a suite's finished or unfinished job needs, nor any log of it, and no checkpoint from
    which one can go on. Raises UserError for a folder without a run."""
    store = Store(root)
    needed = _needed(store)
    wasted: list[Waste] = []
    for name, key in store.folders():
        # What it needs is not known here, and it is no waste itself.
        if needed.get(f"{name}/{key}") is None and store.is_newer(name, key):
            newer = store.job_folder(name, key) / RECORD
            raise UserError(f"{newer}: is of a newer latentbench, which alone knows what it needs; update latentbench")
    for kind in _entries(root / "jobs"):
        for folder in _entries(kind):
            if f"{kind.name}/{folder.name}" not in needed:
                wasted += _unnamed(folder, store.load_any(kind.name, folder.name))
            elif (record := needed[f"{kind.name}/{folder.name}"]) is not None and record.status == "finished":
                wasted += [_waste(path, _KILLED) for path in _leftovers(folder, record)]
    for path in (root / WORKERS).glob(f"*{BEAT}"):
        if ended_here(path):
            wasted += [_waste(p, _GONE) for p in (path, path.with_suffix(".json")) if p.exists()]
    return wasted


def remove(wasted: list[Waste]) -> None:
    """Remove it. Raises UserError for the first that can't be."""
    for item in wasted:
        try:
            if item.path.is_dir() and not item.path.is_symlink():
                # The record goes first: what is left of a folder counts as not done, never as half done.
                (item.path / RECORD).unlink(missing_ok=True)
                shutil.rmtree(item.path)
            else:
                item.path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"cannot remove {item.path}: {error.strerror or error}") from None


def _needed(store: Store) -> Mapping[str, Record | None]:
    """The jobs that suites and plans name, and those that their records have read, with their records."""
    open_jobs = list(jobs_of(store.root))
    for suite in store.read_suites():
        for cell in suite["cells"]:
            open_jobs += [*cell["jobs"].values(), *cell.get("shared", ())]
    needed: dict[str, Record | None] = {}
    while open_jobs:
        job = open_jobs.pop()
        if job not in needed:
            record = needed[job] = store.load_any(*job.split("/"))
            open_jobs += record.depends if record is not None else ()
    return needed


def _unnamed(folder: Path, record: Record | None) -> list[Waste]:
    """The folder, or where it holds what is not the job's all that is."""
    if record is None:
        return [_waste(folder, _UNNAMED)]
    artifacts = {Path(name) for name in record.artifacts}

    def is_own(name: Path) -> bool:
        return name.parts[0] in _KEPT or name in artifacts or any(map(is_leftover, name.parts))

    files = [path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir()]
    known = [path for path in files if is_own(path.relative_to(folder))]
    if len(known) == len(files):
        return [_waste(folder, _UNNAMED)]
    # The record goes first: without it, what is left counts as not done.
    return [_waste(path, _UNNAMED) for path in sorted(known, key=lambda path: path.name != RECORD)]


def _leftovers(folder: Path, record: Record) -> Iterator[Path]:
    artifacts = {Path(name) for name in record.artifacts}
    above = {parent for name in artifacts for parent in name.parents}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if name.parts[0] in _KEPT or name in artifacts or name in above or not is_leftover(name.name):
            continue  # what we did not write is nobody's to remove but its owner's
        if name.parent == Path() or name.parent in above:  # what lies deeper goes with its folder
            yield path


def _waste(path: Path, why: str) -> Waste:
    return Waste(path=path, why=why, size=_size(path))


def _size(path: Path) -> int:
    files = [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]
    return sum(os.lstat(file).st_size for file in files if not file.is_dir())


def _entries(path: Path) -> list[Path]:
    try:
        return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.is_symlink())
    except OSError:
        return []
