"""The task "generation": samples of the trained prior, decoded and compared with the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...results.errors import UserError
from ...results.record import JobResult
from ...tasks.config import GenerationConfig, samples_to_extrapolate
from ...tasks.nets import nets
from ...tokenizers import weights
from ..grid import Cell
from ..suite import Suite
from .base import JobContext, JobKind, PlanContext, Price
from .measures import SCORE_VERSIONS, SHARED_VERSIONS
from .reference import ENCODER, net_versions, references


class Generation(JobKind):
    """Fréchet and kernel distances of samples to the data, and the further scores that the suite names."""

    name, order, version, task = "generation", 80, 1, "default"
    options = GenerationConfig
    requires = ("data", "tokenizer", "latents", "prior")

    def check(self, suite: Suite, cells: Sequence[Cell]) -> None:
        """Refuse a score that no net of the suite can give."""
        if self.name not in suite.tasks:
            return
        options: GenerationConfig = suite.options[self.name]
        where = f"{suite.where}: generation: scores"
        if "fd_infinity" in options.scores:
            dims = {
                name: suite.options[ENCODER].dim if name == ENCODER else nets.get(name).dim for name in suite.features
            }
            least = min((samples_to_extrapolate(dim), name) for name, dim in dims.items()) if dims else None
            if least is not None and options.samples < least[0]:
                raise UserError(
                    f"{where}: fd_infinity needs generation.samples of at least {least[0]} (16 per feature of "
                    f"{least[1]}), got {options.samples}"
                )
        if "inception_score" in options.scores:
            if "inception" not in suite.features:
                raise UserError(f"{where}: inception_score needs inception among the suite's features")
            from ...tasks.metrics.inception_score import classifier

            path = weights.require("inception", where=where)
            classifier(weights.load(path), path=path, where=where)

    def config(self, at: PlanContext) -> dict[str, Any]:
        return super().config(at) | {"seed": at.cell.seed}

    def versions(self, at: PlanContext) -> dict[str, int]:
        scores = {name: SCORE_VERSIONS[name] for name in at.suite.options[self.name].scores}
        return {self.name: self.version, **SHARED_VERSIONS, **scores, **net_versions(at)}

    def needs(self, at: PlanContext) -> dict[str, str]:
        """Also the split that samples are not compared with, as `<split>_reference.<net>`, where a score reads both."""
        options: GenerationConfig = at.suite.options[self.name]
        needs = super().needs(at) | references(at, options.reference)
        if "memorisation" in options.scores:
            other = "val" if options.reference == "train" else "train"
            needs |= references(at, other, prefix=f"{other}_")
        return needs

    def title(self, at: PlanContext) -> str:
        return f"generation {at.cell.name}"

    def price(self, at: PlanContext) -> Price:
        options: GenerationConfig = at.suite.options[self.name]
        decoding = at.cell.tokenizer.estimate_flops() / 2
        return Price(
            flops=(at.prior.sampling_flops(at.spec) + decoding) * options.samples,
            step_flops=at.prior.forward_flops(at.spec) * options.batch_size,
        )

    def run(self, ctx: JobContext) -> JobResult:
        from ...tasks.generation import SAMPLES, generate

        trained = ctx.record("prior").config
        prior = ctx.loaded(ctx.untrained_prior(trained), "prior")
        config = GenerationConfig(**{key: value for key, value in ctx.job.config.items() if key != "seed"})
        result = generate(prior, ctx.tokenizer, ctx.latents, config, ctx.task_context(), references=ctx.references)
        extra = {"sampler": ctx.prior_config(trained).protocol, **result.extra}
        artifacts = (SAMPLES,) if config.keep else ()
        return JobResult(metrics=result.metrics, extra=extra, artifacts=artifacts, run=result.run)
