"""A rung's job: what identifies it, what it leaves, and how it is scored."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from latentbench.bench.datasets import open_dataset
from latentbench.bench.datasets.config import DataConfig
from latentbench.bench.jobs import Job
from latentbench.bench.kinds.reconstruction import Reconstruction
from latentbench.bench.kinds.rung import RungTraining, rung_of, training_of
from latentbench.bench.worker_protocol import CHECKPOINT, CONTINUES, RUNG_CHECKPOINT
from latentbench.results.record import JobResult
from latentbench.tasks.config import ReconstructionConfig
from latentbench.tasks.interface import Context, FitReport
from latentbench.tasks.reconstruction import reconstruct
from latentbench.tokenizers.build import build
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import Modality

TRAINING = Job(
    kind="tokenizer",
    config={"tokenizer": {"recipe": "ae"}, "seed": 3, "augment": ["flip"]},
    versions={"kind.tokenizer": 1, "training": 2},
    depends={"data": "data/d"},
    title="tokenizer shapes ae seed=3",
    runtime={"data": {"name": "shapes"}},
    flops=9e9,
    step_flops=1e6,
    devices=2,
)


def test_its_key_is_that_of_the_training_and_where_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    rung = rung_of(TRAINING, Fraction(1, 9), samples=8, evaluation={"precision": "bfloat16"})
    assert rung.title == "rung 1/9 shapes ae seed=3"
    assert (rung.flops, rung.step_flops, rung.devices) == (pytest.approx(1e9), 1e6, 2)
    assert (rung.depends, rung.config["share"], rung.config["samples"]) == (TRAINING.depends, "1/9", 8)
    going_on = replace(rung, runtime={**rung.runtime, CONTINUES: ["rung/a"]})
    assert going_on.id == rung.id, "from where it goes on is no part of it"
    assert training_of(going_on).id == TRAINING.id
    assert training_of(going_on).runtime == TRAINING.runtime
    others = [
        rung_of(TRAINING, Fraction(1, 3), samples=8, evaluation={"precision": "bfloat16"}),
        rung_of(TRAINING, Fraction(1, 9), samples=0, evaluation={"precision": "bfloat16"}),
        rung_of(TRAINING, Fraction(1, 9), samples=8, evaluation={}),
        rung_of(replace(TRAINING, versions={"training": 3}), Fraction(1, 9), samples=8, evaluation={}),
    ]
    monkeypatch.setattr(Reconstruction, "version", 99)
    others.append(rung_of(TRAINING, Fraction(1, 9), samples=8, evaluation={"precision": "bfloat16"}))
    assert len({job.key for job in (rung, *others)}) == 6


def test_it_is_scored_as_a_tokenizer_is_and_says_how_far_it_was_trained(cache: Path, tmp_path: Path) -> None:
    data = DataConfig(name="shapes", modality=Modality.IMAGE, size=16, samples=24, val=8)
    dataset = open_dataset(data, cache=cache)
    config = resolve("ae", dataset.signal, {"width": 8, "downsample": 4})
    torch.manual_seed(0)
    model = build(config)
    asked: dict[str, Any] = {}
    context = Context(device=torch.device("cpu"), seed=0, folder=tmp_path)
    report = FitReport(steps=4, samples=32, flops=1.0, losses={}, curve=(), seconds=2.0)

    def fit(model: Any, source: Any, training: Any, *, seed: int, until: Fraction) -> FitReport:
        asked.update(seed=seed, until=until, training=training)
        (tmp_path / CHECKPOINT).write_bytes(b"state")
        model.eval()
        model.drop_training_modules()
        return report

    def trained(model: Any, report: FitReport, *, metrics: Any) -> JobResult:
        return JobResult(metrics=metrics, extra={"steps": report.steps}, artifacts=("model.safetensors",))

    job = SimpleNamespace(config={"share": "1/4", "samples": 4})
    facts = {"job": job, "folder": tmp_path, "dataset": dataset, "seed": 7, "precision": "float32", "fit": fit}
    facts |= {"tokenizer_config": config, "device": torch.device("cpu"), "trained": trained}
    ctx = SimpleNamespace(**facts, untrained_tokenizer=lambda: model, task_context=lambda: context)
    result = RungTraining().run(ctx)
    assert (asked["seed"], asked["until"], asked["training"]) == (7, Fraction(1, 4), config.training)
    assert (tmp_path / RUNG_CHECKPOINT).read_bytes() == b"state"
    assert not (tmp_path / CHECKPOINT).exists()
    assert result.artifacts == ("values.safetensors",), "it leaves no model that anybody reads"
    (tmp_path / "again").mkdir()
    plain = ReconstructionConfig(samples=4, rate=False)
    again = reconstruct(model, dataset, plain, replace(context, folder=tmp_path / "again"), references={})
    assert [metric.name for metric in result.metrics] == [metric.name for metric in again.metrics]
    for ours, theirs in zip(result.metrics, again.metrics, strict=True):
        assert ours == replace(theirs, protocol=f"{theirs.protocol}; after 1/4 of the training")
    assert {"psnr", "ssim"} <= {metric.name for metric in result.metrics}
