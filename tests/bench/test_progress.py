"""What people see of a run."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from latentbench.bench.engines.interface import Event
from latentbench.bench.jobs import Job
from latentbench.bench.progress import Display, StderrConsole

JOBS = {
    name: Job(kind="tokenizer", config={"n": name}, versions={}, title=f"tokenizer {name}", flops=1e11)
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


def terminal(width: int = 120, height: int = 30) -> Console:
    """A terminal that remembers what was written to it."""
    return Console(
        file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=None, legacy_windows=False
    )


def drawn(display: Display) -> list[str]:
    with display.console.capture() as capture:
        display.console.print(display._table())
    return capture.get().splitlines()


def many(count: int, devices: int) -> Display:
    """A display of so many running jobs with long titles, and twice as many queued ones."""
    jobs = {
        str(i): Job(kind="tokenizer" if i % 2 else "prior", config={"n": i}, versions={}, title=f"{i} " + "long " * 40)
        for i in range(3 * count)
    }
    display = Display(console=terminal(80, 30), jobs=jobs, total=len(jobs), before=0)
    display.live = object()  # type: ignore[assignment]
    for i in range(count):
        display.see(Event(kind="started", job=str(i), device=f"cuda:{i % devices}"))
        display.see(Event(kind="progress", job=str(i), done=i, total=count, message="loss 0.5"))
    return display


def test_lines_with_timestamps_and_counts_where_there_is_no_terminal() -> None:
    console = Console(file=io.StringIO(), width=40)
    logs = {"b": Path("out/jobs/tokenizer/b/log/attempt-2.log")}
    log_of = lambda job: logs.get(str(job.config["n"]))  # noqa: E731
    with Display(console=console, jobs=JOBS, total=4, before=3, log_of=log_of) as display:
        for event in EVENTS:
            display.see(event)
    first, *lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert first == "3 jobs are finished already; 4 to do"
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[", line) for line in lines)
    assert [line[20:] for line in lines] == [
        "[0/4] started tokenizer a on cpu",
        "[0/4] started tokenizer b on cpu",
        "[0/4] retried tokenizer b: killed by signal 9",
        "[0/4] started tokenizer b on cpu",
        "[1/4] finished tokenizer a (1.2 s)",
        "[2/4] failed tokenizer b: DivergedError: loss is [not] finite (log: out/jobs/tokenizer/b/log/attempt-2.log)",
        "[3/4] skipped tokenizer c: tokenizer/b failed",
    ]
    assert (display.finished, display.failed, display.skipped) == (1, 1, 1)
    assert display.logs == [logs["b"]]


def test_a_live_table_on_a_terminal() -> None:
    with Display(console=terminal(), jobs=JOBS, total=4, before=0) as display:
        for event in EVENTS[:3]:
            display.see(event)
        rows = drawn(display)
        assert rows[0].split() == ["cpu", "tokenizer", "a", "loss", "0.5", "████░░░░░░░░", "30/100", "0", "s"]
        assert rows[1].split()[:3] == ["cpu", "tokenizer", "b"]
        assert rows[2].split(" · ") == ["0/4 jobs", "2 running", "2 queued", "<0:01 elapsed"]
        for event in EVENTS[3:]:
            display.see(event)
        assert not display.rows
        assert "1 queued · 1 failed · 1 skipped" in display._summary()
        assert "ETA <0:01" in display._summary()
    assert display.live is None
    assert "finished tokenizer a" in display.console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("count", "devices"), [(4, 4), (27, 8), (28, 8), (32, 8), (400, 100)])
def test_the_summary_is_seen_however_many_jobs_run(count: int, devices: int) -> None:
    display = many(count, devices)
    lines = drawn(display)
    assert len(lines) <= 28  # a terminal of 30 lines, one for the cursor
    assert all(len(line) <= 80 for line in lines)
    assert lines[-1].startswith(f"0/{3 * count} jobs · {count} running · {2 * count} queued · ")
    if count <= 27:
        assert len(lines) == count + 1
    elif devices <= 27:
        assert [line.split()[0] for line in lines[:-1]] == [f"cuda:{i}" for i in range(devices)]
        assert "4 jobs" in lines[0] if count == 32 else True
        assert re.search(r"\d (prior|tokenizer)", lines[0])
    else:
        assert "74 more devices" in lines[-2]


def test_bars_need_no_colour() -> None:
    display = many(4, 1)
    bars = [re.search("[█░]+", line) for line in drawn(display)[:-1]]
    assert [bar.group().count("█") for bar in bars if bar] == [0, 3, 6, 9]
    display.console = Console(file=io.TextIOWrapper(io.BytesIO(), "ascii"), force_terminal=True, width=80, height=30)
    assert display._bar(0.5).plain == "######------"


def test_names_are_inert() -> None:
    job = Job(kind="tokenizer", config={}, versions={}, title="a [/x] [red] \x1b[2J \u202e\udce9")
    display = Display(console=terminal(), jobs={"a": job}, total=1, before=0)
    display.see(Event(kind="started", job="a", device="cpu"))
    display.see(Event(kind="progress", job="a", done=1, total=2, message="[/y]\x07"))
    assert "a [/x] [red] �[2J ��" in drawn(display)[0]
    display.see(Event(kind="failed", job="a", message="\x1b]0;x\x07"))
    assert not set(display.console.file.getvalue()) & set("\x1b\x07\u202e\udce9")  # type: ignore[attr-defined]


@pytest.mark.parametrize("jobs", [{}, {"a": Job(kind="data", config={}, versions={})}])
def test_nothing_to_do_can_be_shown(jobs: dict[str, Job]) -> None:
    with Display(console=terminal(), jobs=jobs, total=len(jobs), before=7) as display:
        assert display._left() is None
    assert "7 jobs are finished already" in display.console.file.getvalue()  # type: ignore[attr-defined]


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
def test_a_name_that_looks_like_markup_is_shown_as_it_is(name: str) -> None:
    job = Job(kind="tokenizer", config={}, versions={}, title=f"tokenizer {name}", flops=1e9)
    events = [
        Event(kind="started", job="a", device="cpu"),
        Event(kind="progress", job="a", done=1, total=2, message=f"loss {name}"),
    ]
    with Display(console=terminal(), jobs={"a": job}, total=1, before=0) as display:
        for event in events:
            display.see(event)
        line = drawn(display)[0]
        assert f"tokenizer {name}" in line
        assert f"loss {name}" in line
        display.see(Event(kind="failed", job="a", message=name))
    assert f"failed tokenizer {name}: {name}" in display.console.file.getvalue()  # type: ignore[attr-defined]


def test_what_is_left_follows_from_what_this_attempt_has_done(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("latentbench.bench.progress.time.monotonic", lambda: now[0])
    display = Display(console=terminal(), jobs={"a": JOBS["a"]}, total=1, before=0, started=0.0)
    display.see(Event(kind="started", job="a", device="cpu"))
    now[0] += 50  # while it imports and reads its checkpoint
    display.see(Event(kind="progress", job="a", done=50, total=100))
    now[0] += 20
    display.see(Event(kind="progress", job="a", done=60, total=100))
    assert display._left() == pytest.approx(80.0)
    display.see(Event(kind="progress", job="a", done=1, total=4))  # another pass of it
    now[0] += 10
    display.see(Event(kind="progress", job="a", done=2, total=4))
    assert display._left() == pytest.approx(20.0)
