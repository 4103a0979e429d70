"""The job "rung": the beginning of a tokenizer's training, up to a share of its steps, and how well it does there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

from ...results.halving import RUNG
from ...results.record import JobResult
from ...tasks.config import ReconstructionConfig
from ...tasks.metrics.config import measure_versions, metrics
from ..jobs import Job
from ..worker_protocol import CHECKPOINT, CONTINUES, RUNG_CHECKPOINT
from .base import JobContext, JobKind
from .reconstruction import Reconstruction

_OPTIONS = ("share", "samples", "precision")  # of its configuration: what that of the training lacks


class RungTraining(JobKind):
    """It goes on from the checkpoint of the rung before, and leaves its own to the next or to the whole training. The
    learning rate is at each step what it is in the whole training. `bench.halving` plans it."""

    name, order, version = RUNG, 38, 1
    evaluates = True
    requires = ("data",)

    def imports(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        return ("latentbench.tasks.reconstruction",)

    def run(self, ctx: JobContext) -> JobResult:
        from ...tasks.precision import set_precision
        from ...tasks.reconstruction import reconstruct

        share = Fraction(ctx.job.config["share"])
        model = ctx.untrained_tokenizer()
        report = ctx.fit(model, ctx.dataset.train, ctx.tokenizer_config.training, seed=ctx.seed, until=share)
        os.replace(ctx.folder / CHECKPOINT, ctx.folder / RUNG_CHECKPOINT)
        tokenizer = set_precision(model.requires_grad_(False), ctx.precision, ctx.device)
        config = ReconstructionConfig(samples=ctx.job.config["samples"], rate=False)
        result = reconstruct(tokenizer, ctx.dataset, config, ctx.task_context(), references={})
        line = f"after {share} of the training"
        measured = tuple(replace(metric, protocol=f"{metric.protocol}; {line}") for metric in result.metrics)
        return replace(ctx.trained(model, report, metrics=measured), artifacts=result.artifacts)


def rung_of(training: Job, share: Fraction, *, samples: int, evaluation: Mapping[str, Any]) -> Job:
    """The rung of a tokenizer's `training` at that share of its steps, scored on so many validation samples (0: all),
    with what it takes from the start; `evaluation` is what the suite's holds for keys."""
    return replace(
        training,
        kind=RUNG,
        config={**training.config, "share": str(share), "samples": samples, **evaluation},
        versions={**training.versions, **_versions()},
        title=f"{RUNG} {share} {training.title.removeprefix(f'{training.kind} ')}",
        flops=float(share) * training.flops,
    )


def training_of(rung: Job) -> Job:
    """The training whose beginning it is: a job of the same id as the plan's."""
    return replace(
        rung,
        kind="tokenizer",
        config={name: value for name, value in rung.config.items() if name not in _OPTIONS},
        versions={name: value for name, value in rung.versions.items() if name not in _versions()},
        runtime={name: value for name, value in rung.runtime.items() if name != CONTINUES},
        gates=(),
    )


def _versions() -> dict[str, int]:
    """What scores it: its metrics are those of pairs, computed as the task reconstruction does."""
    pairs = {f"metric.{name}": metrics.version(name) for name in metrics.names()}
    own = {f"kind.{RUNG}": RungTraining.version, f"kind.{Reconstruction.name}": Reconstruction.version}
    return own | pairs | measure_versions("codes", "posterior", "rate")
