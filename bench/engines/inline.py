"""The inline engine: one job after another in this process, for tokenizers that live in it. Torch-free to import."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator, Mapping

from ...results.errors import UserError
from ...results.record import Failure
from .. import hardware
from ..gates import Gatekeeper
from ..jobs import Job
from ..worker_protocol import INTERRUPTED, OUT_OF_MEMORY, WorkerRequest, read_shortage, start_attempt
from .interface import Engine, EngineSettings, Event
from .local import failed_record


class InlineEngine(Engine):
    """One job after another in this process, with its torch; what a job prints goes to its log."""

    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(settings)
        self.machine = hardware.machine(settings.devices, jobs_per_device=settings.jobs_per_device)

    def run(self, jobs: Mapping[str, Job]) -> Generator[Event, None, None]:
        """See `Engine.run`. An interrupt ends the job where it is; training goes on from its last checkpoint."""
        from ..worker import work

        failed: set[str] = set()
        keeper = Gatekeeper(store=self.settings.store)
        for name, job in jobs.items():
            stopped = keeper.stopped(job, failed=failed, is_open=lambda gate: False)  # its turn has been
            if stopped is not None:
                failed |= {name} if stopped.kind == "skipped" else set()
                yield stopped
                continue
            request = self._request(job)
            yield Event(kind="started", job=name, device=request.device)
            started = time.monotonic()
            with _state_of_torch(), open(request.log, "w") as log, contextlib.redirect_stdout(log):
                status = work(request.to_json(), listen=False)
            if status == INTERRUPTED:
                raise KeyboardInterrupt
            record = self.settings.store.outcome(job.kind, job.key)
            seconds = time.monotonic() - started
            if record is not None and record.status == "finished":
                yield Event(kind="finished", job=name, seconds=seconds)
                continue
            failed.add(name)
            if status == OUT_OF_MEMORY:  # no other process could be given more
                error = Failure(type="OutOfMemory", message=read_shortage(request.folder))
                record = failed_record(job, error)
                self.settings.store.save(record)
            message = f"see {request.log}" if record is None else str(record.error)
            yield Event(kind="failed", job=name, message=message, seconds=seconds)

    def _request(self, job: Job) -> WorkerRequest:
        store = self.settings.store
        try:
            log = start_attempt(store.job_folder(job.kind, job.key))
        except OSError as error:
            raise UserError(f"cannot write {store.root}: {error.strerror or error}") from None
        device = self.machine.devices[0].name
        return WorkerRequest(
            job=job,
            root=str(store.root),
            cache=str(self.settings.cache),
            device=device,
            threads=self.machine.cores if device == "cpu" else self.machine.host_threads,
            attempt=1,
            log=str(log),
            checkpoint_seconds=self.settings.checkpoint_seconds,
            imports=self.settings.imports,
        )


@contextlib.contextmanager
def _state_of_torch() -> Iterator[None]:
    """Inside, a job may seed and thread as it likes: the caller's generator and threads are as before afterwards."""
    import torch

    state, threads = torch.get_rng_state(), torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_rng_state(state)
        torch.set_num_threads(threads)
