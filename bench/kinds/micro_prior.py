"""The task "micro_prior": the cell's prior at small shares of its compute, as a proxy of what it will reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...results.errors import UserError, unknown
from ...results.record import JobResult
from ...tasks.config import MicroPriorTaskConfig
from ...tasks.metrics.config import measure_versions, metrics
from ...tasks.priors.config import PriorConfig
from ...tokenizers.seeding import derive_seed
from ...tokenizers.spec import LatentSpec, Modality
from ...tokenizers.training import TrainingConfig
from ...tokenizers.validation import check
from ..grid import Cell
from ..suite import Suite
from .base import JobContext, JobKind, PlanContext, Price, without_batch
from .reference import external_references, judging_flops, judging_memory, net_versions, references, serving
from .vocoder import vocoder_needs, vocoder_versions


class MicroPriors(JobKind):
    """The matched prior trained from the start at each share; its versions are the prior's and the training loop's."""

    name, order, version, task = "micro_prior", 96, 3, "on request"
    options = MicroPriorTaskConfig
    evaluates = True
    requires = ("data", "tokenizer", "latents")

    def check(self, suite: Suite, cells: Sequence[Cell]) -> None:
        """Refuse nets that the suite does not have."""
        known = {*suite.features, *(name for data in suite.data for name in serving(suite, data))}
        for i, name in enumerate(suite.options[self.name].features):
            if name not in known:
                raise unknown("net of the suite", name, known, where=f"{suite.where}: {self.name}.features[{i}]")

    def config(self, at: PlanContext) -> dict[str, Any]:
        if getattr(at.prior, "condition_frames", 0):
            raise UserError(
                f"{at.suite.where}: tasks: micro_prior draws whole samples, and the prior {at.prior.kind} goes on from "
                "given ones: take condition_frames = 0, or leave micro_prior out"
            )
        prior = {"prior": at.prior.kind, "options": at.prior.identity(), "seed": at.cell.seed}
        measured = without_batch(super().config(at))
        del measured["features"]  # `needs` says which nets these are
        return {"measured": measured} | prior

    def runtime(self, at: PlanContext) -> dict[str, Any]:
        return {"batch_size": at.suite.options[self.name].batch_size}

    def versions(self, at: PlanContext) -> dict[str, int]:
        among = at.suite.options[self.name].features
        own = {"training": TrainingConfig.version, f"prior.{at.prior.kind}": at.prior.version}
        own |= {"metric.psnr": metrics.version("psnr")}
        measures = measure_versions("frechet", "kid")
        return super().versions(at) | own | measures | net_versions(at, among) | vocoder_versions(at)

    def needs(self, at: PlanContext) -> dict[str, str]:
        options: MicroPriorTaskConfig = at.suite.options[self.name]
        own = references(at, options.reference, among=options.features)
        own |= external_references(at, options.features)
        return super().needs(at) | own | vocoder_needs(at)

    def title(self, at: PlanContext) -> str:
        return f"micro_prior {at.prior.kind} {at.cell.name}"

    def price(self, at: PlanContext) -> Price:
        options: MicroPriorTaskConfig = at.suite.options[self.name]
        trained = sum(options.shares) * full_flops(at.prior, at.spec)
        decoding = at.cell.tokenizer.estimate_flops() / 2
        judged = decoding + judging_flops(at, options.features)
        drawn = options.samples * (at.prior.sampling_flops(at.spec) + judged)
        denoised = (options.held_out or at.counts[1]) * judged * len(options.levels)
        return Price(
            flops=trained + len(options.shares) * (drawn + denoised),
            step_flops=3 * at.prior.forward_flops(at.spec) * options.training_batch_size,
            memory=judging_memory(at, options.batch_size, options.features),
        )

    def imports(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        return ("latentbench.tasks.micro_prior",)

    def reports(self, modality: Modality) -> tuple[str, ...] | None:
        shares = ("micro_gfd_<n>_<net>", "micro_loss_<n>", "micro_nll_<n>", "micro_law_loss", "micro_law_exponent")
        return (*shares, "micro_psnr_<n>_<n>", "micro_fd_<n>_<n>_<net>")

    def run(self, ctx: JobContext) -> JobResult:
        from ...tasks.micro_prior import MicroPrior, clean_features, law_metrics, measure

        config = check(
            MicroPriorTaskConfig,
            ctx.job.config["measured"] | {"batch_size": ctx.job.runtime["batch_size"]},
            where=self.name,
        )
        matched = ctx.prior_config(ctx.job.config)
        whole = full_flops(matched, ctx.tokenizer_config.spec)
        results: list[JobResult] = []
        costs: dict[str, float] = {}
        clean = clean_features(ctx.tokenizer, ctx.latents, config, ctx.task_context())
        for share in config.shares:
            context = ctx.task_context().part(f"{share:g}")  # stays until the job is finished: it may be ended
            prior = ctx.untrained_prior(ctx.job.config)
            small: dict[str, Any] = {"flops": share * whole, "batch_size": config.training_batch_size, "devices": 1}
            training = replace(matched.training, **small)
            seed = derive_seed(ctx.seed, "micro_prior", f"{share:g}")
            report = replace(ctx, folder=context.folder).fit(prior, ctx.latents.train, training, seed=seed)
            micro = MicroPrior(share=share, prior=prior, report=report)
            measured = measure(
                micro, ctx.tokenizer, ctx.latents, config, context, references=ctx.references, clean=clean
            )
            if share == config.shares[-1]:
                law = law_metrics(micro, whole)
                measured.run["proxy_seconds"].update({metric.name: report.seconds for metric in law})
                measured = replace(measured, metrics=(*measured.metrics, *law))
            results.append(measured)
            costs |= {metric.name: report.flops / whole for metric in measured.metrics}
        measures = tuple(metric for result in results for metric in result.metrics)
        seconds = {name: round(value, 3) for result in results for name, value in result.run["proxy_seconds"].items()}
        extra = {"measured_by": {metric.name: metric.name for metric in measures}, "training_share": costs}
        return JobResult(metrics=measures, extra=extra, run={"proxy_seconds": seconds})


def full_flops(prior: PriorConfig, spec: LatentSpec) -> float:
    """The matched prior's training compute: its budget, or that of its steps (forward and backward)."""
    training = prior.training
    return float(training.flops or 3 * prior.forward_flops(spec) * training.batch_size * training.steps)
