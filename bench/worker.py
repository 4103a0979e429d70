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
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..results.canonical import pretty
from ..results.digest import file_digest
from ..results.errors import UserError
from ..results.record import Failure, InvalidRecord, JobResult, Record
from ..results.store import Store, atomic_write
from ..tasks.config import Precision
from .commit import commit
from .hardware import deterministic
from .imports import repeat_imports
from .job_files import placed
from .signals import StopSignal
from .worker_protocol import (
    BROKEN_DEVICE,
    CONFIG,
    DAMAGED,
    FAILED,
    FINISHED,
    INTERRUPTED,
    OUT_OF_MEMORY,
    RANK_DIED,
    UNWRITABLE,
    ProgressFile,
    WorkerRequest,
    clean_attempt,
    drop_continued,
    remove_temporaries,
    write_shortage,
)

if TYPE_CHECKING:
    from .rank_processes import Ranks

_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


def preload() -> None:
    """Import what every job needs, without touching a GPU or starting a thread; and note of which commit it is."""
    import torch

    from . import job_context  # noqa: F401

    torch.set_num_interop_threads(1)
    commit()
    _versions()


def preload_for(kind: str, config: Mapping[str, Any], runtime: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Import what a job of that kind and configuration will, and read the configuration as it will: what that takes
    (validators, packages' entry points) is taken once, in the process that forks it and others like it."""
    from ..tokenizers.config import TokenizerConfig
    from ..tokenizers.validation import check
    from .datasets.config import DataConfig
    from .kinds import KINDS

    for module in KINDS.get(kind)().imports(config):
        import_module(module)
    if "data" in runtime:
        check(DataConfig, runtime["data"], where="data")
    if "tokenizer" in config:
        TokenizerConfig.from_json(config["tokenizer"]).preload()


def work(data: Mapping[str, Any], *, listen: bool = True) -> int:
    """Execute the `WorkerRequest` in `data` and write its record; returns the process's exit code.

    Without `listen` the process's signals stay as they are: it is not the job's own.
    """
    from .rank_processes import Ranks

    stop = StopSignal()
    if listen:
        stop.listen()
    request = WorkerRequest.from_json(data)
    ranks = Ranks(count=1 + len(request.peers))
    try:
        return _attempt(request, stop, ranks)
    finally:
        ranks.close()


def _attempt(request: WorkerRequest, stop: StopSignal, ranks: Ranks) -> int:
    from .job_context import DamagedDependencyError
    from .training import InterruptedTrainingError

    started, clock = datetime.now(UTC), time.monotonic()
    store, job, folder = Store(request.root), request.job, request.folder
    _say(f"{started:%Y-%m-%d %H:%M:%S} {job.title} [{job.id}] attempt {request.attempt} on {request.device}")
    unwritable = False
    outcome: dict[str, Any]
    try:
        remove_temporaries(folder, shared=bool(request.lease))
        identity = {"kind": job.kind, "key": job.key, "title": job.title, "config": dict(job.config)}
        identity |= {"versions": dict(job.versions), "depends": dict(job.depends), "runtime": dict(job.runtime)}
        atomic_write(folder / CONFIG, pretty(identity))
        repeat_imports(request.imports)
        ranks.start(lambda own: _follow(request, store, own))
        outcome = _execute(request, store, stop, ranks)
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
        if stop.asked:  # an interrupt may come out of a library's hands as another exception: the job has not failed
            return INTERRUPTED
        failure = ranks.other_failure() if _is_of_ranks(error) else _failure(error)
        code = _code(error, folder)
        if code in (OUT_OF_MEMORY, BROKEN_DEVICE):
            return code
        unwritable = code == UNWRITABLE
        outcome = {"status": "failed", "error": failure}
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
        drop_continued(job, store)
    _say(f"{outcome['status']} after {seconds:.1f} s")
    if unwritable:
        return UNWRITABLE
    return FINISHED if outcome["status"] == "finished" else FAILED


def _follow(request: WorkerRequest, store: Store, ranks: Ranks) -> tuple[int, Failure | None]:
    """Take part in the training of a job that rank 0 leads; returns how that ended: the code, and a failure."""
    from .job_context import DamagedDependencyError
    from .rank_processes import GRACE_SECONDS, FollowerDone

    try:
        _execute(replace(request, device=request.peers[ranks.number - 1]), store, StopSignal(), ranks)
    except FollowerDone:
        return FINISHED, None
    except DamagedDependencyError:
        return DAMAGED, None
    except Exception as error:
        if _is_of_ranks(error):
            time.sleep(GRACE_SECONDS)  # the cause is told by the rank that has it
            return RANK_DIED, None
        _say(f"rank {ranks.number}: {traceback.format_exc()}")
        return _code(error, request.folder), _failure(error)
    return FINISHED, None  # a job without a training


def _code(error: BaseException, folder: Path) -> int:
    """The exit code that an exception calls for; what memory was asked for is written down."""
    if _is_of_memory(error):
        write_shortage(folder, _failure(error).message)
        return OUT_OF_MEMORY
    if _is_of_device(error):
        return BROKEN_DEVICE
    return UNWRITABLE if _is_unwritable(error) else FAILED


def _execute(request: WorkerRequest, store: Store, stop: StopSignal, ranks: Ranks) -> dict[str, Any]:
    import torch

    from . import cuda_state
    from .job_context import JobContext
    from .kinds import KINDS

    folder = request.folder
    torch.set_num_threads(request.threads)
    device = cuda_state.visible(request.device, request.uuids)
    if device.type == "cuda":
        cuda_state.set_up(device, request.memory_fraction)
    ctx = JobContext(
        job=placed(request.job),
        store=store,
        folder=folder,
        cache=Path(request.cache),
        device=device,
        progress=(lambda done, total, message: None) if ranks.number else ProgressFile(folder),
        stop=stop,
        ranks=ranks,
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


def _is_of_ranks(error: BaseException) -> bool:
    """Whether the connection to another process of the job is gone: its own end is the cause."""
    from torch.distributed import DistError

    return any(
        isinstance(cause, DistError) or (isinstance(cause, RuntimeError) and "gloo/transport" in str(cause))
        for cause in _causes(error)
    )


def _failure(error: BaseException) -> Failure:
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
        "versions": _versions(),
    }
    if (made_of := commit()) is not None:
        facts["commit"] = made_of
    if request.peers:
        facts["devices"] = [request.device, *request.peers]
    if request.divide > 1:
        facts["divided"] = request.divide
    if request.imports:
        facts["imports"] = {item.name: item.sha256[:12] for item in request.imports}
    if request.device != "cpu" and torch.cuda.is_initialized():
        facts["device_name"] = torch.cuda.get_device_name()
        facts["deterministic"] = deterministic()
        facts["peak_device_memory_bytes"] = torch.cuda.max_memory_allocated()
    return facts


@cache
def _versions() -> dict[str, str]:
    return {name: _version(name) for name in ("latentbench", "torch", "torchvision", "torchaudio", "numpy")}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


if __name__ == "__main__":
    preload()
    sys.exit(work(json.load(sys.stdin)))
