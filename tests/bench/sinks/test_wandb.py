"""A run of Weights & Biases per job with curves or metrics, offline unless the user says otherwise."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from latentbench.bench.jobs import Job
from latentbench.bench.sinks.wandb import WandbSink


class Run:
    """What the sink uses of one."""

    def __init__(self, **options: Any) -> None:
        self.options, self.logged, self.summary, self.code = options, [], dict[str, float](), None

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((step, values))

    def finish(self, exit_code: int) -> None:
        self.code = exit_code


def test_a_run_per_job(tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[Run] = []

    def init(**options: Any) -> Run:
        runs.append(Run(**options))
        return runs[-1]

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Settings=dict))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    sink = WandbSink(tmp_path, "demo")
    sink.curve(job, 1, {"loss": 0.5})
    sink.ended(job, {"psnr": 20.0}, failed=False)
    sink.ended(Job(kind="data", config={}, versions={}), {}, failed=False)
    sink.curve(Job(kind="prior", config={}, versions={}), 1, {"loss": 1.0})
    sink.close()
    first, stopped = runs
    assert first.logged == [(1, {"loss": 0.5})]
    assert (first.summary, first.code, stopped.code) == ({"psnr": 20.0}, 0, 1)
    assert first.options["mode"] == "offline"
    assert first.options["name"] == "tokenizer a/b \N{REPLACEMENT CHARACTER}[2J seed=0"
    assert (first.options["group"], first.options["config"]) == ("demo", {"key": job.key, "seed": 0})
