"""Showing how a run goes: a live table on a terminal, plain lines elsewhere. Torch-free."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Any, TextIO, cast

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .engines.interface import Event
from .jobs import Job


class _Forgiving:
    """A stream whose failures (a full disk, a closed terminal) are nobody's: what is shown is a courtesy."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class StderrConsole(Console):
    """Standard error. A reader that goes away (`2>&1 | head`) or a full disk ends the show, not the run."""

    def __init__(self) -> None:
        super().__init__(file=cast("IO[str]", _Forgiving(sys.stderr)))

    def on_broken_pipe(self) -> None:
        """Called by rich."""
        self.quiet = True


@dataclass(kw_only=True)
class _Row:
    title: str
    device: str
    started: float
    done: int = 0
    total: int = 0
    message: str = ""


@dataclass(kw_only=True)
class Display:
    """Follows a run's events. `total` counts the jobs still to do, `before` those that were finished already."""

    console: Console
    jobs: Mapping[str, Job]
    total: int
    before: int
    finished: int = 0
    failed: int = 0
    skipped: int = 0
    rows: dict[str, _Row] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    flops_done: float = 0.0
    live: Live | None = None

    def __enter__(self) -> Display:
        if self.before:
            self.console.print(f"{self.before} jobs are finished already; {self.total} to do", highlight=False)
        if self.console.is_terminal:
            self.live = Live(self._table(), console=self.console, refresh_per_second=4, transient=True)
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None

    def see(self, event: Event) -> None:
        """Take one event into account."""
        job = self.jobs[event.job]
        if event.kind == "started":
            self.rows[event.job] = _Row(title=job.title, device=event.device, started=time.monotonic())
        elif event.kind == "progress" and event.job in self.rows:
            row = self.rows[event.job]
            row.done, row.total, row.message = event.done, event.total, event.message
        elif event.kind in ("finished", "failed", "skipped"):
            self.rows.pop(event.job, None)
            self.flops_done += job.flops
            self.finished += event.kind == "finished"
            self.failed += event.kind == "failed"
            self.skipped += event.kind == "skipped"
            self._say(event, job)
        elif event.kind == "damaged":
            self.total, self.before = self.total + 1, self.before - 1
            self._say(event, job)
        elif event.kind == "stalled":
            self._say(event, job)
        elif event.kind == "retried":
            self.rows.pop(event.job, None)
            self._say(event, job)
        if self.live is not None:
            self.live.update(self._table())

    def _say(self, event: Event, job: Job) -> None:
        count = f"[{self.finished + self.failed + self.skipped}/{self.total}]"
        line = Text(f"{count} {event.kind} {job.title}")
        if event.kind == "finished":
            line.append(f" ({event.seconds:.1f} s)", style="dim")
        else:
            line.append(f": {event.message}", style="red" if event.kind == "failed" else "yellow")
        self.console.print(line, soft_wrap=True)

    def _table(self) -> Group:
        table = Table(box=None, padding=(0, 1), show_header=False)
        for row in self.rows.values():
            bar = ProgressBar(total=max(row.total, 1), completed=row.done, width=20)
            took = f"{time.monotonic() - row.started:.0f} s"
            steps = f"{row.done}/{row.total}" if row.total else ""
            # Text: a title or message of somebody's own may look like rich's markup.
            table.add_row(row.device, Text(row.title), bar, steps, Text(row.message), took)
        return Group(table, Text(self._summary(), style="bold"))

    def _summary(self) -> str:
        ended = self.finished + self.failed + self.skipped
        parts = [f"{ended}/{self.total} jobs", f"{time.monotonic() - self.started:.0f} s"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        left = self._left()
        if left is not None:
            parts.append(f"about {left:.0f} s left")
        return " · ".join(parts)

    def _left(self) -> float | None:
        total = sum(job.flops for job in self.jobs.values())
        if not self.flops_done or self.flops_done < 0.05 * total:
            return None
        return (time.monotonic() - self.started) * (total - self.flops_done) / self.flops_done
