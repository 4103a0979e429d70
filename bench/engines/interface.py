"""What an engine is: it executes jobs in the order of their dependence and tells what happens. Torch-free."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ..jobs import Job


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a job.

    `kind`: "started", "progress" (with `done` of `total` and a message), "finished", "failed" (message: the cause),
    "retried" (its process died; it starts again from its checkpoint), "skipped" (a job it needs failed).
    """

    kind: Literal["started", "progress", "finished", "failed", "retried", "skipped"]
    job: str
    message: str = ""
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    device: str = ""


class Engine(ABC):
    """Executes jobs. Constructed with the engine's own settings; holds nothing between calls of `run`."""

    @abstractmethod
    def run(self, jobs: Mapping[str, Job]) -> Iterator[Event]:
        """Execute `jobs` (id -> job, each after those it depends on; ones that are not in the mapping are done).

        Yields events as they happen. A failing job is recorded and never stops the others. Closing the iterator (or
        KeyboardInterrupt inside it) asks running jobs to checkpoint and stop, and waits for them.
        """
