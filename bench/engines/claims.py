"""Which of the jobs that wait are this engine's to do. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...results.record import Record
from ..jobs import Job
from ..worker_protocol import WorkerRequest
from .client import Server
from .slots import Allocation


class Claims:
    """All of them: nobody else works on the folder. `leases.LeaseClaims` shares them with other machines.

    `descriptors` are open files that say, as long as one of our processes holds them, that we are alive.
    """

    descriptors: tuple[int, ...] = ()

    def guard(self, server: Server) -> None:
        """From now on `server` is where our jobs run."""

    def check(self) -> None:
        """Raise what tells the engine that its jobs are its own no longer."""

    def take(self, job: Job, *, device: str) -> bool:
        """Try to have the job for this engine, to be run on `device`; False where it is another's, or done."""
        return True

    def reserve(self, job: Job, allocation: Allocation) -> bool:
        """Have others that use these devices too leave them to the job, before it is taken; False as long as they do
        not."""
        return True

    def placed(self, request: WorkerRequest) -> WorkerRequest:
        """The request, on the devices that its job was given in place of those that it was to have."""
        return request

    def free(self, job: Job) -> None:
        """The job does not use its devices any more."""

    def elsewhere(self, job: Job) -> bool:
        """Whether a waiting job is being done by others, or has to be."""
        return False

    def lease(self, job: Job) -> str:
        """The file that says so, for the worker's request; "" for none."""
        return ""

    def keep(self, running: Mapping[str, Any]) -> None:
        """Give back every job but those that are running."""

    def ended(self, waiting: Mapping[str, Job]) -> Iterator[tuple[str, Record]]:
        """Those of the waiting jobs that have been done elsewhere, with their records."""
        yield from ()

    def retried(self, ended: Mapping[str, Job], *, last: bool) -> set[str]:
        """Those of the jobs that had `ended` which somebody asks to be done again. The `last` time, before the engine
        says that they failed, it is looked at once."""
        return set()

    def pause(self) -> None:
        """Wait a moment: nothing runs here."""
