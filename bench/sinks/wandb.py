"""Weights & Biases: a run per job, grouped by suite. Torch-free."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..jobs import Job
from .interface import FOLDER, Sink, title_of


class WandbSink(Sink):
    """Weights & Biases, a run per job; in `OUT/sinks` for `wandb sync` unless WANDB_MODE=online."""

    package = "wandb"

    def __init__(self, folder: Path, run: str) -> None:
        super().__init__(folder, run)
        self._runs: dict[str, Any] = {}

    def curve(self, job: Job, step: int, values: Mapping[str, float]) -> None:
        self._run_of(job).log(dict(values), step=step)

    def ended(self, job: Job, metrics: Mapping[str, float], *, failed: bool) -> None:
        if metrics or job.id in self._runs:
            run = self._run_of(job)
            run.summary.update(dict(metrics))
            run.finish(exit_code=int(failed))
            del self._runs[job.id]

    def close(self) -> None:
        for run in self._runs.values():
            run.finish(exit_code=1)

    def _run_of(self, job: Job) -> Any:
        import wandb

        if job.id not in self._runs:
            place = self.folder / FOLDER
            place.mkdir(parents=True, exist_ok=True)
            self._runs[job.id] = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "latentbench"),
                name=title_of(job),
                group=self.run,
                job_type=job.kind,
                config={"key": job.key, **job.config},
                dir=str(place),
                mode=os.environ.get("WANDB_MODE", "offline"),
                reinit="create_new",  # jobs run beside each other
                settings=wandb.Settings(console="off", silent=True, x_disable_stats=True),
            )
        return self._runs[job.id]
