"""What an engine is: it executes jobs in the order of their dependence and tells what happens. Torch-free."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Literal

from ...results.errors import UserError
from ...results.store import Store
from ..imports import Import
from ..jobs import Job

EXPIRY_SECONDS = 60.0  # without a sign of life, until others take over


EventKind = Literal[
    "started", "progress", "finished", "failed", "cancelled", "retried", "skipped", "damaged", "stalled", "left out"
]


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a job.

    `kind`: "started", "progress" (with `done` of `total` and a message), "finished", "failed" (message: the cause),
    "cancelled" (by hand), "retried" (its process died, or somebody asks for it; it starts again, from its checkpoint
    where it has one), "skipped" (a job it needs failed), "damaged" (it
    was finished, but what it left is no longer what its record says: it is done again), "stalled" (no sign of life),
    "left out" (no gate lets it through).
    """

    kind: EventKind
    job: str
    message: str = ""
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    device: str = ""


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """What a run tells its engine.

    `store` is the output folder and `cache` the decoded data sets' folder; `devices` and `jobs_per_device` are what
    the user asked for (the engine looks for devices, wherever it has them); training writes a checkpoint every
    `checkpoint_seconds`; workers import `imports` before any job. A worker without a sign of life for `stall_seconds`
    counts as dead (None: a time that follows from its job's own pace). Where several machines share the folder, one
    without a sign of life for `lease_seconds` loses its jobs to the others. `address` is that of a cluster.
    """

    store: Store
    cache: Path
    devices: str = "auto"
    jobs_per_device: int | None = None
    checkpoint_seconds: float = 30.0
    imports: tuple[Import, ...] = ()
    stall_seconds: float | None = None
    lease_seconds: float = EXPIRY_SECONDS
    address: str = ""


class Engine(ABC):
    """Executes jobs; holds nothing between calls of `run`.

    `finished` has the jobs that are finished already, by id; whoever calls `run` sets it. It is all the engine knows of
    a job that has to be done again. One that `shares` lets others work on the same folder at the same time.
    """

    finished: Mapping[str, Job] = MappingProxyType({})
    shares: ClassVar[bool] = False
    notes: tuple[str, ...] = ()  # lines that are said before its first job
    device: str = "cpu"  # or "cuda": the sort of device for whose memory jobs are planned

    def __init__(self, settings: EngineSettings) -> None:
        """Called before anything is planned. Raises UserError for devices that the engine does not have."""
        self.settings = settings

    def check(self, jobs: Iterable[Job]) -> None:
        """Raises UserError, before anything starts, for a job of more devices than it can give it: by default one."""
        for job in jobs:
            if job.devices > 1:
                raise UserError(
                    f"{job.title}: training.devices = {job.devices}, and this engine gives a job one device"
                )

    @abstractmethod
    def run(self, jobs: Mapping[str, Job]) -> Generator[Event, None, None]:
        """Execute `jobs` (id -> job, each after those it waits for; ones that are not in the mapping are finished).

        What has gates is left out unless one of them lets it through (`gates.Gatekeeper`).

        A job may find that what a finished one has left is damaged (a worker's exit code DAMAGED): then that one's
        record is discarded, and both are done again, one after the other.

        Yields events as they happen. A failing job is recorded and never stops the others. Closing the generator (or
        KeyboardInterrupt inside it) asks running jobs to checkpoint and stop, and waits for them.
        """
