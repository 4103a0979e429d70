"""The task "closed_form": what priors without training reach on a cell's latents, in the distance of generation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...results.record import JobResult
from ...tasks.closed_forms import closed_forms
from ...tasks.config import ClosedFormTaskConfig
from ...tasks.metrics.config import measure_versions
from ...tokenizers.spec import Modality
from ...tokenizers.validation import check
from .base import JobContext, JobKind, PlanContext, Price, task_options
from .reference import external_references, judging_flops, judging_memory, net_versions, references
from .vocoder import vocoder_needs, vocoder_versions


class ClosedForm(JobKind):
    """All priors in closed form that the latents allow, or those that the suite names."""

    name, order, version, task = "closed_form", 95, 2, "on request"
    options = ClosedFormTaskConfig
    evaluates = True
    requires = ("data", "tokenizer", "latents")

    def read(self, table: Mapping[str, Any], where: str) -> ClosedFormTaskConfig:
        options: ClosedFormTaskConfig = super().read(table, where)
        closed_forms.check_names(options.priors, where=f"{where}.priors")
        return options

    def config(self, at: PlanContext) -> dict[str, Any]:
        return super().config(at) | {"priors": list(_names(at)), "seed": at.cell.seed}

    def versions(self, at: PlanContext) -> dict[str, int]:
        chosen = {f"closed_form.{name}": closed_forms.version(name) for name in _names(at)}
        measures = measure_versions("frechet", "kid")
        return super().versions(at) | measures | chosen | net_versions(at) | vocoder_versions(at)

    def needs(self, at: PlanContext) -> dict[str, str]:
        options: ClosedFormTaskConfig = at.suite.options[self.name]
        own = references(at, options.reference) | external_references(at)
        return super().needs(at) | own | vocoder_needs(at)

    def price(self, at: PlanContext) -> Price:
        options: ClosedFormTaskConfig = at.suite.options[self.name]
        decoding = at.cell.tokenizer.estimate_flops() / 2
        drawn = options.samples * len(_names(at))
        return Price(
            flops=(decoding + judging_flops(at)) * drawn,
            step_flops=decoding * options.batch_size,
            memory=judging_memory(at, options.batch_size),
        )

    def imports(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        return ("latentbench.tasks.closed_form",)

    def reports(self, modality: Modality) -> tuple[str, ...] | None:
        return tuple(f"cfd_{name}_<net>" for name in closed_forms.names())

    def run(self, ctx: JobContext) -> JobResult:
        from ...tasks.closed_form import measure

        config = check(ClosedFormTaskConfig, task_options(ctx.job.config), where=self.name)
        return measure(ctx.tokenizer, ctx.latents, config, ctx.task_context(), references=ctx.references)


def _names(at: PlanContext) -> tuple[str, ...]:
    """The priors asked for that describe such latents."""
    asked: tuple[str, ...] = at.suite.options["closed_form"].priors or tuple(closed_forms.names())
    return tuple(name for name in asked if closed_forms.get(name).discrete is at.spec.discrete)
