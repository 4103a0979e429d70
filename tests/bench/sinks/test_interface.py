"""The page's sink, fed by a run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from latentbench.bench.engines.interface import Event
from latentbench.bench.jobs import Job
from latentbench.bench.sinks import sinks
from latentbench.bench.sinks.feed import Feed
from latentbench.bench.sinks.interface import file_name
from latentbench.results.metric import Metric
from latentbench.results.record import Record
from latentbench.results.store import Store

PAGE = Path(__file__).parents[3] / "docs" / "sinks.md"


def test_the_page_s_sink_writes_its_lines(tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "_entries", dict(sinks._entries))
    (source,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    exec(compile(source, str(PAGE), "exec"), {"__name__": "lines"})
    store = Store(tmp_path)
    with Feed(["lines"], run="demo", store=store, console=Console(quiet=True)) as feed:
        feed.see(Event(kind="started", job=job.id), job)
        store.save(Record(kind=job.kind, key=job.key, status="finished", metrics=(Metric(name="psnr", value=1.0),)))
        feed.see(Event(kind="finished", job=job.id), job)
    (line,) = (tmp_path / "lines.jsonl").read_text().splitlines()
    assert json.loads(line) == {"job": job.title, "failed": False, "psnr": 1.0}


def test_a_job_s_file_name_is_one_that_every_disk_takes() -> None:
    long = Job(kind="x", config={}, versions={}, title="../a:b é\n" * 40)
    assert re.fullmatch(r"[A-Za-z0-9_.=-]{1,107}", file_name(long))
    assert "/" not in file_name(long)
