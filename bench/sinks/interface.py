"""What a sink is: something that takes a run's curves and metrics while it goes. Torch-free."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from ...results.display import printable
from ..jobs import Job

FOLDER = "sinks"  # in the output folder: where those write that write files
_LONGEST = 100  # characters of a name


class Sink(ABC):
    """Takes what a run measures.

    All calls come from one thread of the sink's own, so they may take their time; what they raise ends the sink, with a
    warning, and never the run. `package` is what has to be installed for it, as `pip install latentbench[package]`.
    """

    package: ClassVar[str] = ""

    def __init__(self, folder: Path, run: str) -> None:
        """`folder` is the run's output folder, `run` its suite's name."""
        self.folder, self.run = folder, run

    @abstractmethod
    def curve(self, job: Job, step: int, values: Mapping[str, float]) -> None:
        """A step that the job's training has logged: losses, learning rate, samples per second."""

    @abstractmethod
    def ended(self, job: Job, metrics: Mapping[str, float], *, failed: bool) -> None:
        """A job has ended; `metrics` are those of its record, which most kinds of job have none of."""

    @abstractmethod
    def close(self) -> None:
        """The run has ended; jobs that have not were stopped."""


def file_name(job: Job) -> str:
    """A file's name for the job: its title, and enough of its key to be no other's."""
    return f"{re.sub(r'[^A-Za-z0-9_.=-]+', '_', job.title)[:_LONGEST]}-{job.key[:6]}"


def title_of(job: Job) -> str:
    """What the job is called, in one line of visible characters."""
    return printable(job.title)[:_LONGEST]
