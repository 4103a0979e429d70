"""The job "scramble": a trained tokenizer with its latents scrambled, in whose place it stands for all that follows."""

from __future__ import annotations

from typing import Any

from ...results.record import JobResult
from .base import JobContext, JobKind, PlanContext


class Scrambling(JobKind):
    """Trains nothing: cells that differ in their scramble alone share their tokenizer, to the bit."""

    name, order, version = "scramble", 45, 1
    requires = ("data", "tokenizer")

    def config(self, at: PlanContext) -> dict[str, Any]:
        return {"tokenizer": at.cell.tokenizer.to_json(), "seed": at.cell.seed}

    def versions(self, at: PlanContext) -> dict[str, int]:
        scramble = at.cell.tokenizer.scramble
        assert scramble is not None
        return super().versions(at) | {f"scramble.{scramble.kind}": scramble.version}

    def needs(self, at: PlanContext) -> dict[str, str]:
        return {"data": at.need("data"), "tokenizer": at.add("tokenizer", at).id}

    def run(self, ctx: JobContext) -> JobResult:
        from ...tokenizers.config import TokenizerConfig
        from ...tokenizers.scrambles.tokenizer import ScrambledTokenizer
        from ..job_context import MODEL

        scrambled = ScrambledTokenizer(TokenizerConfig.from_json(ctx.job.config["tokenizer"]), ctx.tokenizer)
        ctx.save(scrambled)
        return JobResult(artifacts=(MODEL,))
