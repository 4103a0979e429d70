"""The job "encoder": the feature net that needs no download, trained once per data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ...results.errors import UserError
from ...results.record import JobResult
from ...tasks.nets.config import EncoderConfig
from ...tokenizers.options import merge
from ...tokenizers.part import plain
from ...tokenizers.training import TrainingConfig
from ...tokenizers.validation import check
from ..datasets.config import signal_spec
from .base import JobContext, JobKind, PlanContext, Price


class Encoder(JobKind):
    """A suite's `[encoder]` is laid over the encoder's own defaults, not over those of the training loop."""

    name, order, version, shared = "encoder", 20, 1, True
    options = EncoderConfig
    requires = ("data",)

    def read(self, table: Mapping[str, Any], where: str) -> EncoderConfig:
        config = check(EncoderConfig, merge({"training": asdict(EncoderConfig().training)}, table), where=where)
        at, why = f"{where}.training", "its views are contrasted"
        if config.training.micro_batch is not None:
            raise UserError(f"{at}.micro_batch: a batch can't be divided here ({why})")
        if config.training.devices > 1:
            raise UserError(f"{at}.devices: several devices can't share a batch here ({why})")
        return config

    def config(self, at: PlanContext) -> dict[str, Any]:
        return {"encoder": plain(at.suite.options["encoder"])}

    def versions(self, at: PlanContext) -> dict[str, int]:
        return super().versions(at) | {"training": TrainingConfig.version, "net.encoder": EncoderConfig.version}

    def price(self, at: PlanContext) -> Price:
        encoder: EncoderConfig = at.suite.options["encoder"]
        step = 3 * encoder.estimate_flops(signal_spec(at.data)) * encoder.training.batch_size
        return Price(flops=encoder.training.flops or step * encoder.training.steps, step_flops=step)

    def run(self, ctx: JobContext) -> JobResult:
        import torch

        from ...tasks.nets.encoder import EncoderTrainer, LabelledSource
        from ...tokenizers.seeding import derive_seed

        data = ctx.dataset
        config = check(EncoderConfig, ctx.job.config["encoder"], where="encoder")
        torch.manual_seed(derive_seed(0, "encoder"))
        trainer = EncoderTrainer(config, data.signal, len(data.classes))
        report = ctx.fit(trainer, LabelledSource(data.train), config.training, seed=0)
        ctx.save(trainer)
        quality = trainer.held_out(data.val)
        return ctx.trained(trainer, report, extra={"quality": quality, "net": trainer.net().name})
