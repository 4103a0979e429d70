"""The job "prior": train the cell's prior on its latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...results.record import JobResult
from ...tasks.priors.config import priors
from ...tokenizers.spec import Modality
from ...tokenizers.training import TrainingConfig
from .base import JobContext, JobKind, PlanContext, Price, all_reported


class PriorTraining(JobKind):
    """Its versions are the prior's own and the training loop's."""

    name, order, version = "prior", 70, 1
    evaluates = True
    requires = ("data", "tokenizer", "latents")

    def config(self, at: PlanContext) -> dict[str, Any]:
        return {"prior": at.prior.kind, "options": at.prior.training_identity(), "seed": at.cell.seed}

    def versions(self, at: PlanContext) -> dict[str, int]:
        own = {"training": TrainingConfig.version, f"prior.{at.prior.kind}": at.prior.version}
        return super().versions(at) | own

    def title(self, at: PlanContext) -> str:
        shared = {f"prior.{at.prior.kind}.{name}" for name in at.prior.all_sampling_options()}
        return f"prior {at.prior.kind} {at.cell.name_without(shared)}"

    def price(self, at: PlanContext) -> Price:
        training = at.prior.training
        step = 3 * at.prior.forward_flops(at.spec) * training.batch_size
        flops = training.flops or step * training.steps
        return Price(flops=flops, step_flops=step / training.devices, devices=training.devices)

    def imports(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        return ("latentbench.tasks.generation",)

    def reports(self, modality: Modality) -> tuple[str, ...] | None:
        names = all_reported(priors)
        return None if names is None else (*names, *(f"given_<n>_{name}" for name in names))

    def run(self, ctx: JobContext) -> JobResult:
        from ...tasks.generation import held_out

        prior = ctx.untrained_prior(ctx.job.config)
        report = ctx.fit(prior, ctx.latents.train, prior.config.training, seed=ctx.seed)
        ctx.save(prior)
        given = ctx.given_frames(prior.config)
        metrics = held_out(prior, ctx.latents.val, ctx.tokenizer_config.spec, ctx.device, given=given)
        return ctx.trained(prior, report, metrics=metrics)
