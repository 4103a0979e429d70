"""TensorBoard's event files, a folder per job. Torch-free."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..jobs import Job
from .interface import FOLDER, Sink, file_name


class TensorBoardSink(Sink):
    """Event files in `OUT/sinks/tensorboard`, a folder per job: `tensorboard --logdir` shows them."""

    package = "tensorboard"

    def __init__(self, folder: Path, run: str) -> None:
        super().__init__(folder, run)
        self._writers: dict[str, Any] = {}
        self._steps: dict[str, int] = {}

    def curve(self, job: Job, step: int, values: Mapping[str, float]) -> None:
        self._steps[job.id] = step
        self._write(job, step, values)

    def ended(self, job: Job, metrics: Mapping[str, float], *, failed: bool) -> None:
        if metrics:
            values = {f"metrics/{name}": value for name, value in metrics.items()}
            self._write(job, self._steps.get(job.id, 0), values)
        writer = self._writers.pop(job.id, None)
        if writer is not None:
            writer.close()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()

    def _write(self, job: Job, step: int, values: Mapping[str, float]) -> None:
        # Its writer of files, without the TensorFlow or the torch that others bring along.
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        if job.id not in self._writers:
            self._writers[job.id] = EventFileWriter(str(self.folder / FOLDER / "tensorboard" / file_name(job)))
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
        self._writers[job.id].add_event(Event(wall_time=time.time(), step=step, summary=summary))
        self._writers[job.id].flush()
