"""What the sink writes, TensorBoard's own reader reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentbench.bench.jobs import Job
from latentbench.bench.sinks.tensorboard import TensorBoardSink


def test_its_own_reader_reads_it(tmp_path: Path, job: Job) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sink = TensorBoardSink(tmp_path, "demo")
    sink.curve(job, 1, {"loss": 0.5})
    sink.curve(job, 2, {"loss": 0.25, "lr": 1e-3})
    sink.ended(job, {"psnr": 20.0}, failed=False)
    sink.ended(Job(kind="data", config={}, versions={}), {}, failed=False)
    sink.close()
    (folder,) = (tmp_path / "sinks" / "tensorboard").iterdir()
    assert folder.name == f"tokenizer_a_b_2J_seed=0-{job.key[:6]}"
    events = EventAccumulator(str(folder))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 0.5), (2, 0.25)]
    assert [(e.step, e.value) for e in events.Scalars("metrics/psnr")] == [(2, 20.0)]
