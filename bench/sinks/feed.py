"""Feeding sinks from a run's events, each in its own thread: none holds up a job, or makes one fail. Torch-free."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from types import TracebackType

from rich.console import Console
from rich.text import Text

from ...results.display import printable
from ...results.errors import UserError, one_line
from ...results.report.detail import read_curve
from ...results.store import Store
from ...tokenizers.validation import check_distinct
from ..engines.interface import Event
from ..jobs import Job
from . import sinks
from .interface import Sink

_LAST_SECONDS = 30.0  # after the run, for what a sink has not taken yet
_STOPPED_SECONDS = 3.0  # after a run that was interrupted
_BETWEEN_SECONDS = 1.0  # two readings of a job's curve


def check_sinks(names: Sequence[str]) -> None:
    """Refuse unknown sinks, and those whose package is not installed. Raises UserError."""
    check_distinct(names, "--sink")
    for name in names:
        package = sinks.get(name, where="--sink").package
        if package and find_spec(package) is None:
            raise UserError(f"--sink {name}: {package} is not installed; pip install 'latentbench[{package}]'")


class SinkThread:
    """One sink and the thread that it works in. `error` is what ended it, if anything did."""

    def __init__(self, name: str, make: Callable[[], Sink], store: Store) -> None:
        self.name, self.error = name, ""
        self._make, self._store = make, store
        self._queue: queue.SimpleQueue[tuple[str, Job] | None] = queue.SimpleQueue()
        self._started: set[str] = set()  # here, and not by another machine
        self._waiting: set[str] = set()  # jobs whose curve is to be read
        self._read_at: dict[str, float] = {}
        self._steps: dict[str, int] = {}
        self._thread = threading.Thread(target=self._run, name=f"sink {name}", daemon=True)
        self._thread.start()

    def take(self, kind: str, job: Job) -> None:
        """Hand an event over; returns at once."""
        if self.error:
            return
        if kind == "progress":
            if job.id in self._waiting or time.monotonic() < self._read_at.get(job.id, 0.0) + _BETWEEN_SECONDS:
                return
            self._waiting.add(job.id)
            self._read_at[job.id] = time.monotonic()
        self._queue.put((kind, job))

    def end(self) -> None:
        """Nothing comes any more."""
        self._queue.put(None)

    def wait(self, seconds: float) -> None:
        """Let it take what there is, for so many seconds at most."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            self.error = "it has not taken everything in time; the rest is lost"

    def _run(self) -> None:
        try:
            sink = self._make()
            while (item := self._queue.get()) is not None:
                self._pass_on(sink, *item)
            sink.close()
        except Exception as error:
            self.error = one_line(f"{type(error).__name__}: {error}")

    def _pass_on(self, sink: Sink, kind: str, job: Job) -> None:
        if kind == "started":
            self._started.add(job.id)
        if job.id not in self._started:
            return
        self._waiting.discard(job.id)
        for row in read_curve(self._store.job_folder(job.kind, job.key)):
            step = row.get("step")
            if isinstance(step, int) and step > self._steps.get(job.id, -1):
                self._steps[job.id] = step
                sink.curve(job, step, _numbers(row))
        if kind in ("finished", "failed"):
            sink.ended(job, self._metrics(job), failed=kind == "failed")

    def _metrics(self, job: Job) -> dict[str, float]:
        record = self._store.load(job.kind, job.key)
        return {} if record is None else {m.name: m.value for m in record.metrics if m.value is not None}


def _numbers(row: Mapping[str, object]) -> dict[str, float]:
    numbers = {name: value for name, value in row.items() if isinstance(value, int | float) and name != "step"}
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


class Feed:
    """All sinks of a run, as a context; `see` hands each of its events on. What goes wrong is a line on `console`."""

    def __init__(self, names: Sequence[str], *, run: str, store: Store, console: Console) -> None:
        self._console = console
        self._threads = [
            SinkThread(name, partial(sinks.get(name, where="--sink"), store.root, run), store) for name in names
        ]
        self._told: set[str] = set()

    def __enter__(self) -> Feed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        until = time.monotonic() + (_LAST_SECONDS if kind is None else _STOPPED_SECONDS)
        for thread in self._threads:
            thread.end()
        for thread in self._threads:
            thread.wait(max(0.0, until - time.monotonic()))
        self._tell()

    def see(self, event: Event, job: Job) -> None:
        """Hand an event on; returns at once."""
        if event.kind in ("started", "progress", "finished", "failed"):
            for thread in self._threads:
                thread.take(event.kind, job)
        self._tell()

    def _tell(self) -> None:
        for thread in self._threads:
            if thread.error and thread.name not in self._told:
                self._told.add(thread.name)
                line = f"warning: sink {thread.name} was left out from here on: {printable(thread.error)}"
                self._console.print(Text(line), soft_wrap=True)
