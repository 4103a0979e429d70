"""The task "modelability": cheap proxies, computed on the latents alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...results.record import JobResult
from ...tasks.config import ModelabilityConfig
from ...tasks.proxies import proxies
from ...tokenizers.spec import Modality
from ...tokenizers.validation import check
from ..suite import Suite
from .base import JobContext, JobKind, PlanContext, Price, all_reported, task_options

_ALL = ("all",)


class Modelability(JobKind):
    """The proxies that are computed by default, those that the suite names, or all."""

    name, order, version, task = "modelability", 90, 2, "default"
    options = ModelabilityConfig
    evaluates = True
    requires = ("data", "tokenizer", "latents")

    def read(self, table: Mapping[str, Any], where: str) -> ModelabilityConfig:
        options: ModelabilityConfig = super().read(table, where)
        if options.proxies != _ALL:
            proxies.check_names(options.proxies, where=f"{where}.proxies")
        return options

    def config(self, at: PlanContext) -> dict[str, Any]:
        return super().config(at) | {"proxies": list(chosen_proxies(at.suite))}

    def imports(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        return ("latentbench.tasks.modelability",)

    def price(self, at: PlanContext) -> Price:
        return Price(on_cpu=True)

    def versions(self, at: PlanContext) -> dict[str, int]:
        return super().versions(at) | {f"proxy.{name}": proxies.version(name) for name in chosen_proxies(at.suite)}

    def reports(self, modality: Modality) -> tuple[str, ...] | None:
        return all_reported(proxies)

    def run(self, ctx: JobContext) -> JobResult:
        from ...tasks.modelability import measure

        config = check(ModelabilityConfig, task_options(ctx.job.config), where=self.name)
        return measure(ctx.latents, config, progress=ctx.progress)


def chosen_proxies(suite: Suite) -> tuple[str, ...]:
    """The names of the proxies that the task computes in this suite."""
    asked: tuple[str, ...] = suite.options["modelability"].proxies
    if asked == _ALL:
        return tuple(proxies.names())
    return asked or tuple(name for name in proxies.names() if proxies.get(name).by_default)
