"""MLflow: an experiment per suite, a run per job. Torch-free."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..jobs import Job
from .interface import FOLDER, Sink, title_of

_LONGEST = 500  # characters of a parameter


class MlflowSink(Sink):
    """MLflow, an experiment per suite and a run per job; in `OUT/sinks/mlflow.db` unless MLFLOW_TRACKING_URI is set."""

    package = "mlflow"

    def __init__(self, folder: Path, run: str) -> None:
        super().__init__(folder, run)
        self._client: Any = None
        self._experiment = ""
        self._runs: dict[str, str] = {}

    def curve(self, job: Job, step: int, values: Mapping[str, float]) -> None:
        self._log(self._run_of(job), values, step)

    def ended(self, job: Job, metrics: Mapping[str, float], *, failed: bool) -> None:
        if metrics or job.id in self._runs:
            run = self._run_of(job)
            self._log(run, metrics, 0)
            self._client.set_terminated(run, "FAILED" if failed else "FINISHED")
            del self._runs[job.id]

    def close(self) -> None:
        for run in self._runs.values():
            self._client.set_terminated(run, "KILLED")

    def _log(self, run: str, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(run, metrics=[Metric(name, value, now, step) for name, value in values.items()])

    def _run_of(self, job: Job) -> str:
        from mlflow.entities import Param

        if job.id not in self._runs:
            if self._client is None:
                self._connect()
            tags = {"kind": job.kind, "key": job.key}
            run = self._client.create_run(self._experiment, run_name=title_of(job), tags=tags).info.run_id
            self._runs[job.id] = run
            params = [Param(name, json.dumps(value)[:_LONGEST]) for name, value in job.config.items()]
            self._client.log_batch(run, params=params)
        return self._runs[job.id]

    def _connect(self) -> None:
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # the screen is the run's
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if uri is None:
            place = (self.folder / FOLDER).resolve()
            place.mkdir(parents=True, exist_ok=True)
            uri = f"sqlite:///{place / 'mlflow.db'}"
        self._client = MlflowClient(tracking_uri=uri)
        known = self._client.get_experiment_by_name(self.run)
        self._experiment = known.experiment_id if known is not None else self._client.create_experiment(self.run)
