"""What people see of a run."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from latentbench.bench.engines.interface import Event
from latentbench.bench.jobs import Job
from latentbench.bench.progress import Display, StderrConsole

JOBS = {
    name: Job(kind="tokenizer", config={"n": name}, versions={}, title=f"tokenizer {name}", flops=1e9)
    for name in ("a", "b", "c", "d")
}
EVENTS = [
    Event(kind="started", job="a", device="cpu"),
    Event(kind="started", job="b", device="cpu"),
    Event(kind="progress", job="a", done=30, total=100, message="loss 0.5"),
    Event(kind="retried", job="b", message="killed by signal 9"),
    Event(kind="started", job="b", device="cpu"),
    Event(kind="finished", job="a", seconds=1.25),
    Event(kind="failed", job="b", message="DivergedError: loss is [not] finite"),
    Event(kind="skipped", job="c", message="tokenizer/b failed"),
]


@pytest.fixture
def terminal() -> Console:
    """A terminal that remembers what was written to it."""
    return Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None, legacy_windows=False)


def test_plain_lines_where_there_is_no_terminal() -> None:
    console = Console(file=io.StringIO(), width=40)
    with Display(console=console, jobs=JOBS, total=4, before=3) as display:
        for event in EVENTS:
            display.see(event)
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "3 jobs are finished already; 4 to do",
        "[0/4] retried tokenizer b: killed by signal 9",
        "[1/4] finished tokenizer a (1.2 s)",
        "[2/4] failed tokenizer b: DivergedError: loss is [not] finite",
        "[3/4] skipped tokenizer c: tokenizer/b failed",
    ]
    assert (display.finished, display.failed, display.skipped) == (1, 1, 1)


def test_a_live_table_on_a_terminal(terminal: Console) -> None:
    with Display(console=terminal, jobs=JOBS, total=4, before=0) as display:
        for event in EVENTS[:3]:
            display.see(event)
        with terminal.capture() as capture:
            terminal.print(display._table())
        rows = [line.split() for line in capture.get().splitlines()]
        assert rows[0][:3] == ["cpu", "tokenizer", "a"]
        assert rows[0][-5:-2] == ["30/100", "loss", "0.5"]
        assert rows[1][:3] == ["cpu", "tokenizer", "b"]
        assert rows[2][:2] == ["0/4", "jobs"]
        for event in EVENTS[3:]:
            display.see(event)
        assert not display.rows
        assert "1 failed" in display._summary()
        assert "s left" in display._summary()
    assert display.live is None
    assert "finished tokenizer a" in terminal.file.getvalue()  # type: ignore[attr-defined]


def test_the_time_left_follows_the_work_done(terminal: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    display = Display(console=terminal, jobs=JOBS, total=4, before=0, started=now)
    assert display._left() is None
    now = 110.0
    display.see(EVENTS[0])
    display.see(EVENTS[5])
    assert display._left() == pytest.approx(30.0)  # a quarter took 10 s


@pytest.mark.parametrize("jobs", [{}, {"a": Job(kind="data", config={}, versions={})}])
def test_nothing_to_do_can_be_shown(terminal: Console, jobs: dict[str, Job]) -> None:
    with Display(console=terminal, jobs=jobs, total=len(jobs), before=7) as display:
        assert display._left() is None
    assert "7 jobs are finished already" in terminal.file.getvalue()  # type: ignore[attr-defined]


def test_a_reader_that_goes_away_ends_the_show_alone() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    screen = StderrConsole()
    screen.file = Gone()
    with Display(console=screen, jobs=JOBS, total=4, before=1) as display:
        for event in EVENTS:
            display.see(event)
    assert display.finished == 1


@pytest.mark.parametrize("name", ["[/x]", "[/red]", "d[link=http://example.org]"])
def test_a_name_that_looks_like_markup_is_shown_as_it_is(terminal: Console, name: str) -> None:
    job = Job(kind="tokenizer", config={}, versions={}, title=f"tokenizer {name}", flops=1e9)
    events = [
        Event(kind="started", job="a", device="cpu"),
        Event(kind="progress", job="a", done=1, total=2, message=f"loss {name}"),
    ]
    with Display(console=terminal, jobs={"a": job}, total=1, before=0) as display:
        for event in events:
            display.see(event)
        with terminal.capture() as capture:
            terminal.print(display._table())
        assert f"tokenizer {name}" in capture.get()
        assert f"loss {name}" in capture.get()
        display.see(Event(kind="failed", job="a", message=name))
    assert f"failed tokenizer {name}: {name}" in terminal.file.getvalue()  # type: ignore[attr-defined]
