"""The task "generation": samples of the trained prior, decoded and compared with the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...results.errors import UserError
from ...results.record import JobResult
from ...tasks.config import GenerationConfig
from ...tasks.metrics.config import measure_versions, scores
from ...tasks.metrics.reported import distance_names
from ...tasks.nets import nets
from ...tasks.nets.config import ENCODER
from ...tokenizers.spec import Modality
from ..grid import Cell
from ..presets import marked
from ..suite import Suite
from .base import SAMPLING, JobContext, JobKind, PlanContext, Price, all_reported, task_options, without_batch
from .reference import external_references, judging_flops, judging_memory, net_versions, references, serving
from .vocoder import vocoder_needs, vocoder_versions


class Generation(JobKind):
    """Fréchet and kernel distances of samples to the data, and the further scores that the suite names."""

    name, order, version, task = "generation", 80, 3, "default"
    options = GenerationConfig
    evaluates = True
    requires = ("data", "tokenizer", "latents", "prior")

    def read(self, table: Mapping[str, Any], where: str) -> GenerationConfig:
        options: GenerationConfig = super().read(table, where)
        scores.check_names(options.scores, where=f"{where}.scores")
        return options

    def check(self, suite: Suite, cells: Sequence[Cell]) -> None:
        """Refuse a score that no net of the suite can give."""
        if self.name not in suite.tasks:
            return
        options: GenerationConfig = suite.options[self.name]
        where = f"{suite.where}: generation: scores"
        names = {name for data in suite.data for name in serving(suite, data)}
        dims = {name: suite.options[ENCODER].dim if name == ENCODER else nets.get(name).dim for name in sorted(names)}
        for score in (scores.get(name)() for name in options.scores):
            reason = score.unsupported_reason(samples=options.samples, dims=dims)
            if reason is not None:
                raise UserError(f"{where}: {score.kind} {reason}")
            score.check_weights(where=where)

    def config(self, at: PlanContext) -> dict[str, Any]:
        _check_given(at, at.suite.options[self.name])
        drawn = at.prior.sampling()  # no part of the prior's job: those that differ in it alone share one
        own = without_batch(super().config(at)) | {"seed": at.cell.seed} | at.preset
        return own | ({SAMPLING: drawn} if drawn else {})

    def runtime(self, at: PlanContext) -> dict[str, Any]:
        return {"batch_size": at.suite.options[self.name].batch_size}

    def versions(self, at: PlanContext) -> dict[str, int]:
        chosen = {f"score.{name}": scores.version(name) for name in at.suite.options[self.name].scores}
        measures = measure_versions("frechet", "kid")
        return super().versions(at) | measures | chosen | net_versions(at) | vocoder_versions(at)

    def needs(self, at: PlanContext) -> dict[str, str]:
        """Also the split that samples are not compared with, as `<split>_reference.<net>`: for the distance's floor
        and for scores that read both."""
        options: GenerationConfig = at.suite.options[self.name]
        other = "val" if options.reference == "train" else "train"
        own = references(at, options.reference) | references(at, other, prefix=f"{other}_")
        return super().needs(at) | own | external_references(at) | vocoder_needs(at)

    def title(self, at: PlanContext) -> str:
        return f"generation {at.cell.name}"

    def price(self, at: PlanContext) -> Price:
        options: GenerationConfig = at.suite.options[self.name]
        decoding = at.cell.tokenizer.estimate_flops() / 2
        return Price(
            flops=(at.prior.sampling_flops(at.spec) + decoding + judging_flops(at)) * options.samples,
            step_flops=at.prior.forward_flops(at.spec) * options.batch_size,
            memory=judging_memory(at, options.batch_size),
        )

    def imports(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        return ("latentbench.tasks.generation",)

    def reports(self, modality: Modality) -> tuple[str, ...] | None:
        further = all_reported(scores)
        if further is None:
            return None
        of_samples = (f"g{name}" for name in distance_names())
        names = (*of_samples, "fd_floor_<net>", "undecodable", *further)
        return (*names, *(f"given_<n>_{name}" for name in names))

    def run(self, ctx: JobContext) -> JobResult:
        from ...tasks.generation import generate
        from ...tasks.priors.first_frames import Continuations

        trained = ctx.record("prior").config
        trained = {**trained, "options": trained["options"] | ctx.job.config.get(SAMPLING, {})}
        prior = ctx.loaded(ctx.untrained_prior(trained), "prior")
        config = GenerationConfig(**task_options(ctx.job.config), batch_size=ctx.job.runtime["batch_size"])
        given = ctx.given_frames(ctx.prior_config(trained))
        sampler = prior if given is None else Continuations(prior, ctx.latents.val, config.samples)
        result = generate(sampler, ctx.tokenizer, ctx.latents, config, ctx.task_context(), references=ctx.references)
        if given is not None:
            # other clips' distance is no floor under samples that share their first frames with the reference
            own = (metric for metric in result.metrics if not metric.name.startswith("fd_floor_"))
            result = replace(result, metrics=tuple(map(given.marked, own)))
        sampled = replace(result, extra={"sampler": ctx.prior_config(trained).protocol, **result.extra})
        return marked(sampled, ctx.job.config.get("preset"))


def _check_given(at: PlanContext, options: GenerationConfig) -> None:
    """Raises UserError where samples that go on from first frames would be compared with others than those clips."""
    if not getattr(at.prior, "condition_frames", 0):
        return
    why = f"the prior {at.prior.kind} goes on from first frames of validation clips (condition_frames)"
    if options.reference != "val":
        raise UserError(f'{at.suite.where}: generation.reference: {why}: take "val", not "{options.reference}"')
    if at.data.reference is not None:
        raise UserError(f"{at.suite.where}: data {at.data.label}: reference: {why}, which no file of statistics is of")
