"""What a worker process does: one job, from a request to a record.

The local engine's server forks one per job. For other engines, `python -P -m latentbench.bench.worker` reads one
`WorkerRequest` as JSON from standard input.
"""

from __future__ import annotations

import errno
import json
import platform
import resource
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..results.canonical import pretty
from ..results.digest import file_digest
from ..results.errors import UserError
from ..results.record import Failure, InvalidRecord, JobResult, Record
from ..results.store import Store, atomic_write
from ..tasks.config import Precision
from .imports import repeat_imports
from .job_files import placed
from .signals import StopSignal
from .worker_protocol import (
    BROKEN_DEVICE,
    DAMAGED,
    FAILED,
    FINISHED,
    INTERRUPTED,
    OUT_OF_MEMORY,
    UNWRITABLE,
    ProgressFile,
    WorkerRequest,
    clean_attempt,
    remove_temporaries,
    write_shortage,
)

_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


def preload() -> None:
    """Import what every job needs, without touching a GPU or starting a thread."""
    import torch

    from . import job_context  # noqa: F401

    torch.set_num_interop_threads(1)


def work(data: Mapping[str, Any], *, listen: bool = True) -> int:
    """Execute the `WorkerRequest` in `data` and write its record; returns the process's exit code.

    Without `listen` the process's signals stay as they are: it is not the job's own.
    """
    from .job_context import DamagedDependencyError
    from .training import InterruptedTrainingError

    started, clock = datetime.now(UTC), time.monotonic()
    stop = StopSignal()
    if listen:
        stop.listen()
    request = WorkerRequest.from_json(data)
    store, job, folder = Store(request.root), request.job, request.folder
    _say(f"{started:%Y-%m-%d %H:%M:%S} {job.title} [{job.id}] attempt {request.attempt} on {request.device}")
    unwritable = False
    outcome: dict[str, Any]
    try:
        remove_temporaries(folder, shared=bool(request.lease))
        identity = {"kind": job.kind, "key": job.key, "title": job.title, "config": dict(job.config)}
        identity |= {"versions": dict(job.versions), "depends": dict(job.depends), "runtime": dict(job.runtime)}
        atomic_write(folder / "config.json", pretty(identity))
        repeat_imports(request.imports)
        outcome = _execute(request, store, stop)
        stop.hold()
    except (InterruptedTrainingError, KeyboardInterrupt) as stopped:
        _say(str(stopped) or "stopped on request")
        return INTERRUPTED
    except DamagedDependencyError as error:
        _say(f"{error}: it has to be done again")
        return DAMAGED
    except Exception as error:
        stop.hold()
        _say(traceback.format_exc())
        if _is_of_memory(error):
            write_shortage(folder, _failure(error).message)
            return OUT_OF_MEMORY
        if _is_of_device(error):
            return BROKEN_DEVICE
        unwritable = _is_unwritable(error)
        outcome = {"status": "failed", "error": _failure(error)}
    if request.lease and not Path(request.lease).exists():
        _say("others have taken the job over: it leaves no record")
        return INTERRUPTED
    seconds = time.monotonic() - clock
    run = _facts(request, started, seconds) | outcome.pop("run", {})
    facts: dict[str, Any] = {"kind": job.kind, "key": job.key, "config": dict(job.config), "run": run}
    facts["depends"] = tuple(sorted(job.depends.values()))
    try:
        try:
            store.save(Record(**facts, **outcome), replace=not request.lease)
        except (InvalidRecord, TypeError) as error:  # the job gave something that no record can hold
            _say(traceback.format_exc())
            outcome = {"status": "failed", "error": _failure(error)}
            store.save(Record(**facts, **outcome), replace=not request.lease)
    except UserError as error:
        _say(str(error))
        return UNWRITABLE
    if outcome["status"] == "finished":
        clean_attempt(folder, shared=bool(request.lease))
    _say(f"{outcome['status']} after {seconds:.1f} s")
    if unwritable:
        return UNWRITABLE
    return FINISHED if outcome["status"] == "finished" else FAILED


def _execute(request: WorkerRequest, store: Store, stop: StopSignal) -> dict[str, Any]:
    import torch

    from .job_context import JobContext
    from .kinds import KINDS

    folder = request.folder
    torch.set_num_threads(request.threads)
    device = torch.device(request.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        if request.memory_fraction < 1:  # what others run on the device must not fall with this job
            torch.cuda.set_per_process_memory_fraction(request.memory_fraction)
        # Metrics and comparisons between cells are float32; matrix products in bf16 are asked for by autocast alone.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = False
    ctx = JobContext(
        job=placed(request.job),
        store=store,
        folder=folder,
        cache=Path(request.cache),
        device=device,
        progress=ProgressFile(folder),
        stop=stop,
        checkpoint_seconds=request.checkpoint_seconds,
        batch_size=max(1, JobContext.batch_size // request.divide),
        divide=request.divide,
    )
    result = _with_precision(KINDS.get(ctx.job.kind)().run(ctx), ctx.precision)
    return {
        "status": "finished",
        "metrics": result.metrics,
        "extra": result.extra,
        "artifacts": {name: (folder / name).stat().st_size for name in result.artifacts},
        "digests": {name: file_digest(folder / name) for name in result.artifacts},
        "run": result.run,
    }


def _with_precision(result: JobResult, precision: Precision) -> JobResult:
    """The result with the precision of its evaluation in every metric's protocol, where it is not the usual one."""
    if precision == "float32":
        return result
    line = f"evaluated in {precision}"
    return replace(result, metrics=tuple(replace(m, protocol=f"{m.protocol}; {line}") for m in result.metrics))


def _say(text: str) -> None:
    """To the log, which may lie on a full disk."""
    with suppress(OSError):
        print(text, flush=True)


def _is_unwritable(error: BaseException) -> bool:
    """Whether the cause is the disk: then other jobs would fail alike, and it is no finding about this one."""
    return any(isinstance(cause, OSError) and cause.errno in _UNWRITABLE for cause in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_of_memory(error: BaseException) -> bool:
    """Whether it is for lack of memory: of a GPU, or of the host, for which torch raises a plain RuntimeError."""
    from torch import OutOfMemoryError

    return any(
        isinstance(cause, OutOfMemoryError | MemoryError)
        or (isinstance(cause, RuntimeError) and "DefaultCPUAllocator" in str(cause))
        for cause in _causes(error)
    )


def _is_of_device(error: BaseException) -> bool:
    """Whether the GPU itself has failed (an illegal access, a lost device), after which nothing on it can go on."""
    return any(isinstance(cause, RuntimeError) and "CUDA error" in str(cause) for cause in _causes(error))


def _failure(error: Exception) -> Failure:
    place = traceback.extract_tb(error.__traceback__)
    where = f"{Path(place[-1].filename).name}:{place[-1].lineno}" if place else ""
    name = "UserError" if isinstance(error, UserError) else type(error).__name__
    return Failure(type=name, message=" ".join(str(error).split()) or name, where=where)


def _facts(request: WorkerRequest, started: datetime, seconds: float) -> dict[str, Any]:
    """The volatile part of a record: everything that may differ between two runs of the same job."""
    import torch

    facts: dict[str, Any] = {
        "seconds": round(seconds, 3),
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "attempt": request.attempt,
        "device": request.device,
        "threads": request.threads,
        "host": platform.node(),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        * (1 if sys.platform == "darwin" else 1024),
        "versions": {name: _version(name) for name in ("latentbench", "torch", "torchvision", "torchaudio", "numpy")},
    }
    if request.divide > 1:
        facts["divided"] = request.divide
    if request.imports:
        facts["imports"] = {item.name: item.sha256[:12] for item in request.imports}
    if request.device != "cpu" and torch.cuda.is_initialized():
        facts["device_name"] = torch.cuda.get_device_name()
        facts["peak_device_memory_bytes"] = torch.cuda.max_memory_allocated()
    return facts


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


if __name__ == "__main__":
    preload()
    sys.exit(work(json.load(sys.stdin)))
