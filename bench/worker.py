"""What a worker process does: one job, from an order to a record. Forked by the engine's server."""

from __future__ import annotations

import os
import platform
import resource
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..results.errors import UserError
from ..results.record import Failure, Record, canonical
from ..results.store import Store, atomic_write, remove_leftovers
from .jobs import Job

INTERRUPTED = 75
_PROGRESS_SECONDS = 0.5


def preload() -> None:
    """Import what every job needs, without touching a GPU or starting a thread."""
    import torch

    from . import work  # noqa: F401

    torch.set_num_interop_threads(1)


def work(order: Mapping[str, Any]) -> int:
    """Execute `order` and write its record; the process's exit code (0: finished, 1: failed, 75: stopped on request)."""
    from .training import InterruptedTrainingError

    started, clock = datetime.now(UTC), time.monotonic()
    stopping = _Stop()
    store = Store(order["root"])
    job = Job(**{name: order[name] for name in ("kind", "config", "versions", "depends", "title", "runtime")})
    if job.key != order["key"]:
        raise RuntimeError(f"the order's key {order['key']} is not its job's {job.key}")
    folder = store.job_folder(job.kind, job.key)
    print(f"{started:%Y-%m-%d %H:%M:%S} {job.title} [{job.id}] attempt {order['attempt']} on {order['device']}")
    outcome: dict[str, Any]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        identity = {"kind": job.kind, "key": job.key, "title": job.title, "config": dict(job.config)}
        identity |= {"versions": dict(job.versions), "depends": dict(job.depends), "runtime": dict(job.runtime)}
        atomic_write(folder / "config.json", canonical(identity))
        outcome = _execute(job, order, store, folder, stopping)
    except InterruptedTrainingError as stopped:
        print(stopped)
        return INTERRUPTED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        traceback.print_exc()
        outcome = {"status": "failed", "error": _failure(error)}
    seconds = time.monotonic() - clock
    run = _facts(order, started, seconds)
    store.save(
        Record(
            kind=job.kind,
            key=job.key,
            config=dict(job.config),
            depends=tuple(sorted(job.depends.values())),
            run=run | outcome.pop("run", {}),
            **outcome,
        )
    )
    for leftover in ("progress", *(("checkpoint.safetensors",) if outcome["status"] == "finished" else ())):
        with suppress(OSError):
            (folder / leftover).unlink()
    print(f"{outcome['status']} after {seconds:.1f} s")
    return 0 if outcome["status"] == "finished" else 1


def _execute(job: Job, order: Mapping[str, Any], store: Store, folder: Path, stopping: _Stop) -> dict[str, Any]:
    import torch

    from .work import Workshop, execute

    torch.set_num_threads(order["threads"])
    device = torch.device(order["device"])
    if device.type == "cuda":
        torch.cuda.set_device(device)
        # Metrics and comparisons between cells are float32; matrix products in bf16 are asked for by autocast alone.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = False
    shop = Workshop(
        job=job,
        store=store,
        folder=folder,
        cache=Path(order["cache"]),
        device=device,
        progress=_Progress(folder / "progress"),
        stop=stopping,
        checkpoint_seconds=order["checkpoint_seconds"],
    )
    product = execute(shop)
    sizes = {name: (folder / name).stat().st_size for name in product.artifacts}
    return {
        "status": "finished",
        "metrics": product.metrics,
        "extra": product.extra,
        "artifacts": sizes,
        "run": product.run,
    }


class _Stop:
    """Turns SIGTERM into a request that the training loop polls; elsewhere the job is simply cut off."""

    def __init__(self) -> None:
        self.asked = False
        self.polled = False
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _handle(self, *_: Any) -> None:
        self.asked = True
        if not self.polled:
            raise KeyboardInterrupt

    def __call__(self) -> bool:
        self.polled = True
        return self.asked


class _Progress:
    """Writes "done total message" to a small file that the engine reads, at most twice a second."""

    def __init__(self, path: Path) -> None:
        self.path, self.last = path, 0.0

    def __call__(self, done: int, total: int, message: str) -> None:
        now = time.monotonic()
        if now - self.last < _PROGRESS_SECONDS and done != total:
            return
        self.last = now
        temporary = self.path.with_suffix(".new")
        with suppress(OSError):  # progress is a courtesy: a full disk is reported by what matters
            temporary.write_text(f"{done} {total} {message}")
            os.replace(temporary, self.path)


def _failure(error: Exception) -> Failure:
    place = traceback.extract_tb(error.__traceback__)
    where = f"{Path(place[-1].filename).name}:{place[-1].lineno}" if place else ""
    name = "UserError" if isinstance(error, UserError) else type(error).__name__
    return Failure(type=name, message=" ".join(str(error).split()) or name, where=where)


def _facts(order: Mapping[str, Any], started: datetime, seconds: float) -> dict[str, Any]:
    """The volatile part of a record: everything that may differ between two runs of the same job."""
    import torch

    facts: dict[str, Any] = {
        "seconds": round(seconds, 3),
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "attempt": order["attempt"],
        "device": order["device"],
        "threads": order["threads"],
        "host": platform.node(),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        * (1 if sys.platform == "darwin" else 1024),
        "versions": {name: _version(name) for name in ("latentbench", "torch", "torchvision", "torchaudio", "numpy")},
    }
    if order["device"] != "cpu" and torch.cuda.is_initialized():
        facts["device_name"] = torch.cuda.get_device_name()
        facts["peak_device_memory_bytes"] = torch.cuda.max_memory_allocated()
    return facts


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
