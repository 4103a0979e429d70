"""Showing how a run goes: a live table on a terminal, lines with timestamps elsewhere. Torch-free."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TextIO, cast

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..results.display import counted, printable
from .engines.interface import Event
from .forecast import ENOUGH, AtWork, Forecast, clock
from .gates import at_most
from .jobs import Job

_BAR = 12  # columns of a progress bar
# The events that end a job, and where they are counted.
_ENDS = {
    "finished": "finished",
    "failed": "failed",
    "cancelled": "cancelled",
    "skipped": "skipped",
    "left out": "left_out",
}
_MESSAGES = 110  # columns of a terminal from which on jobs' own messages are shown


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
    job: Job
    device: str
    started: float
    done: int = 0
    total: int = 0
    message: str = ""
    began: tuple[float, float] | None = None  # when the first share was seen, and that: an earlier attempt's, perhaps

    @property
    def title(self) -> str:
        return printable(self.job.title)

    @property
    def share(self) -> float:
        return min(self.done / self.total, 1.0) if self.total > 0 else 0.0

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    @property
    def at_work(self) -> AtWork:
        if self.began is None:
            return AtWork(self.job, self.elapsed)
        since, resumed = self.began
        return AtWork(self.job, time.monotonic() - since, self.share, resumed)


@dataclass(kw_only=True)
class Display:
    """Follows a run's events. `total` counts the jobs still to do, `before` those that were finished already.

    `log_of` says where a job's log lies; `logs` collects those of failed jobs.
    """

    console: Console
    jobs: Mapping[str, Job]
    total: int
    before: int
    log_of: Callable[[Job], Path | None] = lambda job: None
    finished: int = 0
    failed: int = 0
    skipped: int = 0
    left_out: int = 0
    cancelled: int = 0
    rows: dict[str, _Row] = field(default_factory=dict)
    logs: list[Path] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    ended: dict[str, str] = field(default_factory=dict)
    forecast: Forecast = field(default_factory=Forecast)
    parallel: int = 1
    live: Live | None = None

    def __enter__(self) -> Display:
        if self.before:
            finished = "1 job is" if self.before == 1 else f"{self.before} jobs are"
            self.console.print(f"{finished} finished already; {self.total} to do", highlight=False)
        if self.console.is_terminal:
            self.live = Live(get_renderable=self._table, console=self.console, refresh_per_second=4, transient=True)
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
            self.rows[event.job] = _Row(job=job, device=event.device, started=time.monotonic())
            self.parallel = max(self.parallel, len(self.rows))
            if self.live is None:
                self._say(event, job)
        elif event.kind == "progress" and event.job in self.rows:
            row = self.rows[event.job]
            is_another_pass = event.total != row.total or event.done < row.done
            row.done, row.total, row.message = event.done, event.total, event.message
            if row.began is None or is_another_pass:
                row.began = (time.monotonic(), row.share)
        elif event.kind in _ENDS:
            self.rows.pop(event.job, None)
            self._count(event.job, event.kind)
            if event.kind == "finished":
                self.forecast.finished(job, event.seconds)
            self._say(event, job)
        elif event.kind in ("damaged", "stalled"):
            self._say(event, job)
        elif event.kind == "retried":
            self.rows.pop(event.job, None)
            self._count(event.job, None)
            self._say(event, job)

    def _count(self, job: str, how: str | None) -> None:
        """The job has ended so; None: it is to be done again."""
        for end, by in ((self.ended.pop(job, None), -1), (how, 1)):
            if end is not None:
                setattr(self, _ENDS[end], getattr(self, _ENDS[end]) + by)
        if how is not None:
            self.ended[job] = how

    def _say(self, event: Event, job: Job) -> None:
        """A line that stays: with a timestamp where lines are all there is."""
        line = Text("" if self.live is not None else f"{time.strftime('%Y-%m-%d %H:%M:%S')} ")
        line.append(f"[{len(self.ended)}/{self.total}] {event.kind} {printable(job.title)}")
        if event.kind == "finished":
            line.append(f" ({event.seconds:.1f} s)")
        elif event.kind == "started":
            line.append(f" on {event.device}")
        else:
            # No yellow: on white nobody reads it.
            line.append(f": {printable(event.message)}", style="red" if event.kind == "failed" else "bold")
        log = self.log_of(job) if event.kind == "failed" else None
        if log is not None:
            self.logs.append(log)
            line.append(f" (log: {printable(str(log))})")
        self.console.print(line, soft_wrap=self.live is None, highlight=False)  # a log keeps its lines whole

    def _table(self) -> Group:
        """What runs, in as many lines as the terminal has room for, and the summary below it.

        Called four times a second by the thread that draws.
        """
        room = max(self.console.height - 3, 1)
        rows = list(self.rows.values())
        lines = [self._line(row) for row in rows] if len(rows) <= room else self._folded(rows, room)
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for _ in range(3):
            table.add_column(no_wrap=True, justify="right")
        for line in lines:
            table.add_row(*line)
        return Group(table, Text(self._summary(), style="bold", no_wrap=True, overflow="ellipsis"))

    def _line(self, row: _Row) -> tuple[Text, ...]:
        title = Text(row.title)
        if self.console.width >= _MESSAGES and row.message:
            title.append(f"  {printable(row.message)}", style="dim")
        steps = f"{row.done}/{row.total}" if row.total else ""
        return Text(row.device), title, self._bar(row.share), Text(steps), Text(f"{row.elapsed:.0f} s")

    def _folded(self, rows: list[_Row], room: int) -> list[tuple[Text, ...]]:
        """A line per device where there is no room for one per job."""
        by_device: dict[str, list[_Row]] = {}
        for row in rows:
            by_device.setdefault(row.device, []).append(row)
        lines: list[tuple[Text, ...]] = []
        for device, members in sorted(by_device.items(), key=lambda item: (len(item[0]), item[0])):
            kinds = Counter(row.job.kind for row in members)
            what = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
            share = sum(row.share for row in members) / len(members)
            count = counted(len(members), "job")
            longest = max(row.elapsed for row in members)
            lines.append((Text(device), Text(what), self._bar(share), Text(count), Text(f"{longest:.0f} s")))
        if len(lines) > room:
            hidden = len(lines) - room + 1
            lines = [
                *lines[: room - 1],
                (Text("..."), Text(counted(hidden, "more device")), Text(), Text(), Text()),
            ]
        return lines

    def _bar(self, share: float) -> Text:
        """A bar of characters, which is read alike on any background."""
        full = round(_BAR * share)
        done, rest = ("#", "-") if self.console.options.ascii_only else ("█", "░")
        return Text(done * full + rest * (_BAR - full))

    def _summary(self) -> str:
        running = len(self.rows)
        counts = {
            "running": running,
            "queued": self.total - len(self.ended) - running,
            "failed": self.failed,
            "cancelled": self.cancelled,
            "skipped": self.skipped,
            "left out": self.left_out,
        }
        parts = [f"{len(self.ended)}/{self.total} jobs", *(f"{n} {word}" for word, n in counts.items() if n)]
        parts.append(f"{clock(time.monotonic() - self.started)} elapsed")
        left = self._left()
        if left is not None:
            parts.append(f"ETA {self._eta(left)}")
        return (" | " if self.console.options.ascii_only else " · ").join(parts)

    def _eta(self, left: float) -> str:
        """Hours and minutes; with their interval once enough jobs say how sure they are."""
        if len(self.forecast.jobs) < ENOUGH:
            return clock(left)
        span = self.forecast.span(left)
        return f"{clock(left)} ({clock(span.low)} to {clock(span.high)})"

    def _left(self) -> float | None:
        """Seconds until the run is done, from the rates measured so far; None while too little is known."""
        if len(self.ended) == self.total:
            return None
        waiting = {name: job for name, job in self.jobs.items() if name not in self.ended and name not in self.rows}
        running = [row.at_work for row in self.rows.values()]
        return self.forecast.left(at_most(waiting).values(), running, parallel=self.parallel)
