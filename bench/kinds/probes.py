"""The task "probes": small measurements on a trained tokenizer, each testing what a family of the field claims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...results.record import JobResult
from ...tasks.config import ProbesConfig
from ...tasks.metrics.config import measure_versions, metrics
from ...tasks.probes import default_probes, probes
from ...tokenizers.spec import Modality
from ...tokenizers.validation import check
from .base import JobContext, JobKind, PlanContext, Price, all_reported, task_options, without_batch
from .reference import net_versions, references


class Probes(JobKind):
    """All probes that apply, or those that the suite names."""

    name, order, version, task = "probes", 100, 1, "on request"
    options = ProbesConfig
    evaluates = True
    requires = ("data", "tokenizer", "latents")

    def read(self, table: Mapping[str, Any], where: str) -> ProbesConfig:
        options: ProbesConfig = super().read(table, where)
        probes.check_names(options.names, where=f"{where}.names")
        return options

    def config(self, at: PlanContext) -> dict[str, Any]:
        return without_batch(super().config(at)) | {"names": list(_names(at)), "seed": at.cell.seed}

    def runtime(self, at: PlanContext) -> dict[str, Any]:
        return {"batch_size": at.suite.options[self.name].batch_size}

    def versions(self, at: PlanContext) -> dict[str, int]:
        versions = super().versions(at) | {"metric.psnr": metrics.version("psnr")}
        versions |= measure_versions("frechet", "kid") | net_versions(at)
        for name in _names(at):
            versions |= {f"probe.{name}": probes.version(name), **probes.get(name)().measures_with()}
        if at.suite.evaluation.precision != "float32":
            versions |= {"probes.precision": 1}  # tokenizers that probes build ignored it once
        return versions

    def needs(self, at: PlanContext) -> dict[str, str]:
        return super().needs(at) | references(at, "val")

    def price(self, at: PlanContext) -> Price:
        forward, (_, n_val) = at.cell.tokenizer.estimate_flops(), at.counts
        return Price(flops=forward * n_val * 12, step_flops=forward * at.suite.options[self.name].batch_size)

    def imports(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        return ("latentbench.tasks.probing",)

    def reports(self, modality: Modality) -> tuple[str, ...] | None:
        return all_reported(probes)

    def run(self, ctx: JobContext) -> JobResult:
        from ...tasks.probes.interface import ProbeInput
        from ...tasks.probing import probe
        from ...tokenizers.build import build

        config = check(ProbesConfig, task_options(ctx.job.config), where=self.name)
        tokenizer = ctx.tokenizer_config
        probed = ProbeInput(
            tokenizer=ctx.tokenizer,
            data=ctx.dataset,
            latents=ctx.latents,
            device=ctx.device,
            seed=ctx.seed,
            samples=config.samples,
            batch_size=ctx.job.runtime["batch_size"],
            nets=ctx.nets,
            references=ctx.references,
            precision=ctx.precision,
            untrained=None if tokenizer.codec or tokenizer.adapter else lambda: build(tokenizer),
        )
        return probe(probed, config, progress=ctx.progress)


def _names(at: PlanContext) -> tuple[str, ...]:
    return at.suite.options["probes"].names or default_probes()
