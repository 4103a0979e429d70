"""The job "tokenizer": train a cell's tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...results.record import JobResult
from ...tokenizers import weights
from ...tokenizers.part import plain
from ...tokenizers.training import TrainingConfig
from ..grid import Cell
from ..suite import Suite
from .base import JobContext, JobKind, PlanContext, Price


class TokenizerTraining(JobKind):
    """Its versions are those of its parts and of the training loop. An adapter's tokenizer is loaded, not trained."""

    name, order, version = "tokenizer", 40, 1
    requires = ("data",)

    def check(self, suite: Suite, cells: Sequence[Cell]) -> None:
        for name in {name for cell in cells for name in cell.tokenizer.weights()}:
            weights.require(name, where=f"{suite.where}: losses")

    def config(self, at: PlanContext) -> dict[str, Any]:
        tokenizer = at.cell.tokenizer.unscrambled
        used = weights.contents(tokenizer.weights())
        own: dict[str, Any] = {"tokenizer": tokenizer.to_json()}
        if tokenizer.adapter is None:
            own["seed"] = at.cell.seed  # nothing of an adapter's tokenizer depends on it
        if at.data.augment:
            own["augment"] = list(at.data.augment)
        return own | {"weights": used} if used else own

    def versions(self, at: PlanContext) -> dict[str, int]:
        return super().versions(at) | {"training": TrainingConfig.version} | at.cell.tokenizer.unscrambled.versions()

    def price(self, at: PlanContext) -> Price:
        """A backward pass costs two forward ones; memory: weights with optimiser and average, and activations."""
        tokenizer, training = at.cell.tokenizer, at.cell.tokenizer.training
        step = 3 * tokenizer.estimate_flops() * training.batch_size
        activations = training.device_batch * tokenizer.signal.elements * 4 * 60
        return Price(
            flops=step * training.steps if training.flops is None else training.flops,
            step_flops=step / training.devices,
            memory=int(400e6 + 20 * tokenizer.estimate_parameters() + activations),
            on_cpu=at.codec_on_cpu,
            devices=training.devices,
        )

    def run(self, ctx: JobContext) -> JobResult:
        if ctx.tokenizer_config.adapter is not None:
            return _loaded(ctx)
        model = ctx.untrained_tokenizer()
        report = ctx.fit(model, ctx.dataset.train, ctx.tokenizer_config.training, seed=ctx.seed)
        ctx.save(model)
        return ctx.trained(model, report)


def _loaded(ctx: JobContext) -> JobResult:
    """The record of a tokenizer that somebody else has trained: what it is, and where its files are from."""
    from ...tokenizers.adapters.files import revision_of
    from ...tokenizers.adapters.tokenizer import AdapterTokenizer

    tokenizer = ctx.tokenizer
    assert isinstance(tokenizer, AdapterTokenizer)
    facts: dict[str, Any] = {
        "parameters": sum(p.numel() for p in tokenizer.parameters()),
        "flops": 0.0,
        "class": tokenizer.adapter.class_name,
        "declaration": plain(tokenizer.declaration),
        "dtype": str(tokenizer.dtype).removeprefix("torch."),
    }
    revision = revision_of(tokenizer.config.files)
    return JobResult(extra=facts, run={"revision": revision} if revision else {})
