"""A run's sinks get each logged step once and all metrics; a slow or failing one costs a warning."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import ClassVar

import pytest
from rich.console import Console

from latentbench.bench.engines.interface import Event
from latentbench.bench.jobs import Job
from latentbench.bench.sinks import feed as feed_module
from latentbench.bench.sinks import sinks
from latentbench.bench.sinks.feed import Feed, check_sinks
from latentbench.bench.sinks.interface import Sink
from latentbench.results.errors import UserError
from latentbench.results.metric import Metric
from latentbench.results.record import Record
from latentbench.results.store import Store


class Kept(Sink):
    """Remembers what it was told."""

    calls: ClassVar[list[tuple[object, ...]]] = []
    moment: ClassVar[threading.Event] = threading.Event()

    def curve(self, job: Job, step: int, values: Mapping[str, float]) -> None:
        self.calls.append(("curve", step, dict(values)))
        self.moment.set()

    def ended(self, job: Job, metrics: Mapping[str, float], *, failed: bool) -> None:
        self.calls.append(("ended", dict(metrics), failed))

    def close(self) -> None:
        self.calls.append(("close", self.run))


class Failing(Kept):
    """Fails at the first step."""

    def curve(self, job: Job, step: int, values: Mapping[str, float]) -> None:
        raise ConnectionError("no such\nhost \x1b[2J")


class Hanging(Kept):
    """Never comes back."""

    def curve(self, job: Job, step: int, values: Mapping[str, float]) -> None:
        time.sleep(3600)


class Absent(Kept):
    """Needs what nobody has."""

    package = "no_such_package"


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"kept": Kept, "failing": Failing, "hanging": Hanging, "absent": Absent}
    monkeypatch.setattr(sinks, "_entries", {**sinks._entries, **names})
    Kept.calls.clear()
    Kept.moment.clear()


def log(store: Store, job: Job, *steps: int) -> None:
    folder = store.job_folder(job.kind, job.key)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"step": step, "loss": 1 / step, "word": "x"}) for step in steps]
    (folder / "curve.jsonl").write_text("\n".join(lines) + '\n{"step": 9, "lo')


def told(tmp_path: Path, job: Job, *names: str) -> str:
    """A run of one job with these sinks; what it says."""
    store, out = Store(tmp_path), StringIO()
    with Feed(names, run="demo", store=store, console=Console(file=out, width=200)) as feed:
        feed.see(Event(kind="started", job=job.id), job)
        log(store, job, 1)
        feed.see(Event(kind="progress", job=job.id), job)
        if "kept" in names:
            assert Kept.moment.wait(5)
        log(store, job, 1, 2, 3)
        metrics = (Metric(name="psnr", value=20.0), Metric(name="none", value=None))
        store.save(Record(kind=job.kind, key=job.key, status="finished", metrics=metrics))
        feed.see(Event(kind="finished", job=job.id), job)
        feed.see(Event(kind="finished", job="elsewhere"), Job(kind="x", config={}, versions={}))
    return out.getvalue()


def test_each_step_comes_once_while_the_job_runs(tmp_path: Path, job: Job) -> None:
    assert told(tmp_path, job, "kept") == ""
    steps = [("curve", step, {"loss": 1 / step}) for step in (1, 2, 3)]
    assert Kept.calls == [*steps, ("ended", {"psnr": 20.0}, False), ("close", "demo")]


def test_a_failing_or_hanging_sink_costs_a_warning(tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "_LAST_SECONDS", 0.3)
    begun = time.monotonic()
    lines = told(tmp_path, job, "failing", "hanging", "kept").splitlines()
    assert time.monotonic() - begun < 5
    assert len(lines) == 2
    failed = "warning: sink failing was left out from here on: ConnectionError: no such\\nhost \\x1b[2J"
    assert failed in lines
    assert any(line.startswith("warning: sink hanging was left out") and "the rest is lost" in line for line in lines)
    assert ("ended", {"psnr": 20.0}, False) in Kept.calls


def test_mistakes() -> None:
    with pytest.raises(UserError, match=r"^--sink: unknown sink 'tensorbord'; did you mean 'tensorboard'\?$"):
        check_sinks(["tensorbord"])
    with pytest.raises(
        UserError, match=r"^--sink absent: no_such_package is not installed; pip install 'latentbench\["
    ):
        check_sinks(["absent"])
    with pytest.raises(UserError, match="twice"):
        check_sinks(["kept", "kept"])
    check_sinks(["kept"])
