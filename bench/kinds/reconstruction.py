"""The task "reconstruction": how well the validation split comes back, and at what rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...results.record import JobResult
from ...tasks.config import ReconstructionConfig
from ...tasks.metrics.config import LpipsConfig, measure_versions, metrics
from ...tokenizers import weights
from ..grid import Cell
from ..suite import Suite
from .base import JobContext, JobKind, PlanContext, Price, without_batch
from .reference import net_versions, references

_LPIPS = "alexnet_lpips"


class Reconstruction(JobKind):
    """Metrics of pairs, Fréchet and kernel distances to the validation split, rate, operating points."""

    name, order, version, task = "reconstruction", 60, 2, "default"
    options = ReconstructionConfig
    requires = ("data", "tokenizer")

    def check(self, suite: Suite, cells: Sequence[Cell]) -> None:
        if suite.options[self.name].lpips == "on":
            weights.require(_LPIPS, where=f"{suite.where}: reconstruction.lpips")

    def config(self, at: PlanContext) -> dict[str, Any]:
        options: ReconstructionConfig = at.suite.options[self.name]
        if options.lpips == "off" or at.data.modality.is_audio:
            return without_batch(options.identity())
        return without_batch(options.identity()) | {"weights": weights.contents([_LPIPS])}

    def runtime(self, at: PlanContext) -> dict[str, Any]:
        return {"batch_size": at.suite.options[self.name].batch_size}

    def versions(self, at: PlanContext) -> dict[str, int]:
        pairs = {f"metric.{name}": metrics.version(name) for name in metrics.names()}
        lpips = ("lpips",) if at.suite.options[self.name].lpips == "on" else ()
        measures = measure_versions("codes", "frechet", "kid", "posterior", "rate", *lpips)
        return super().versions(at) | pairs | measures | net_versions(at)

    def needs(self, at: PlanContext) -> dict[str, str]:
        return super().needs(at) | references(at, "val")

    def price(self, at: PlanContext) -> Price:
        options: ReconstructionConfig = at.suite.options[self.name]
        forward, (_, n_val) = at.cell.tokenizer.estimate_flops(), at.counts
        return Price(flops=forward * n_val * (8 if options.rate else 1), step_flops=forward * options.batch_size)

    def run(self, ctx: JobContext) -> JobResult:
        from ...tasks.reconstruction import reconstruct

        options = {name: value for name, value in ctx.job.config.items() if name != "weights"}
        config = ReconstructionConfig(**options, batch_size=ctx.job.runtime["batch_size"])
        extra = []
        if config.lpips == "on" and not ctx.dataset.signal.modality.is_audio:
            from ...tokenizers.losses.lpips import LPIPS

            model = LPIPS(weights.require(_LPIPS)).to(ctx.device).eval()
            extra.append(LpipsConfig().build(model))
        return reconstruct(
            ctx.tokenizer, ctx.dataset, config, ctx.task_context(), references=ctx.references, extra_metrics=extra
        )
