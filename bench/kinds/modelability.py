"""The task "modelability": cheap proxies, computed on the latents alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...results.record import JobResult
from ...tasks.config import ModelabilityConfig
from ...tasks.proxies import proxies
from ...tokenizers.validation import check, check_distinct
from .base import JobContext, JobKind, PlanContext


class Modelability(JobKind):
    """All proxies, or those that the suite names."""

    name, order, version, task = "modelability", 90, 2, "default"
    options = ModelabilityConfig
    requires = ("data", "tokenizer", "latents")

    def read(self, table: Mapping[str, Any], where: str) -> ModelabilityConfig:
        options: ModelabilityConfig = super().read(table, where)
        check_distinct(options.proxies, f"{where}.proxies")
        for i, name in enumerate(options.proxies):
            proxies.version(name, where=f"{where}.proxies[{i}]")
        return options

    def config(self, at: PlanContext) -> dict[str, Any]:
        return super().config(at) | {"proxies": list(_names(at))}

    def versions(self, at: PlanContext) -> dict[str, int]:
        return super().versions(at) | {f"proxy.{name}": proxies.version(name) for name in _names(at)}

    def run(self, ctx: JobContext) -> JobResult:
        from ...tasks.modelability import measure

        config = check(ModelabilityConfig, ctx.job.config, where=self.name)
        return measure(ctx.latents, config, progress=ctx.progress)


def _names(at: PlanContext) -> tuple[str, ...]:
    return at.suite.options["modelability"].proxies or tuple(proxies.names())
