"""A run of MLflow per job with curves or metrics, in the suite's experiment."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from latentbench.bench.jobs import Job
from latentbench.bench.sinks.mlflow import MlflowSink


def test_a_run_per_job(tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    class Client:
        """What the sink uses of one."""

        def __init__(self, tracking_uri: str) -> None:
            calls.append(("uri", tracking_uri))

        def get_experiment_by_name(self, name: str) -> None:
            return None

        def create_experiment(self, name: str) -> str:
            return f"experiment {name}"

        def create_run(self, experiment: str, run_name: str, tags: dict[str, str]) -> SimpleNamespace:
            calls.append(("run", experiment, tags))
            return SimpleNamespace(info=SimpleNamespace(run_id=tags["kind"]))

        def __getattr__(self, name: str) -> Any:
            return lambda *args, **options: calls.append((name, *args, *options.values()))

    tracking, entities = ModuleType("mlflow.tracking"), ModuleType("mlflow.entities")
    tracking.MlflowClient = Client  # type: ignore[attr-defined]
    entities.Metric = lambda name, value, now, step: (name, value, step)  # type: ignore[attr-defined]
    entities.Param = lambda name, value: (name, value)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    monkeypatch.setitem(sys.modules, "mlflow", ModuleType("mlflow"))
    monkeypatch.setitem(sys.modules, "mlflow.tracking", tracking)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    sink = MlflowSink(tmp_path, "demo")
    sink.curve(job, 1, {"loss": 0.5})
    sink.ended(job, {"psnr": 20.0}, failed=True)
    sink.ended(Job(kind="data", config={}, versions={}), {}, failed=False)
    sink.curve(Job(kind="prior", config={}, versions={}), 3, {"loss": 1.0})
    sink.close()
    assert calls[:2] == [
        ("uri", f"sqlite:///{tmp_path}/sinks/mlflow.db"),
        ("run", "experiment demo", {"kind": "tokenizer", "key": job.key}),
    ]
    assert calls[2:6] == [
        ("log_batch", "tokenizer", [("seed", "0")]),
        ("log_batch", "tokenizer", [("loss", 0.5, 1)]),
        ("log_batch", "tokenizer", [("psnr", 20.0, 0)]),
        ("set_terminated", "tokenizer", "FAILED"),
    ]
    assert calls[-1] == ("set_terminated", "prior", "KILLED")
