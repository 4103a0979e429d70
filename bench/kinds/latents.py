"""The job "latents": both splits through the trained tokenizer, kept on disk for all that reads latents."""

from __future__ import annotations

from typing import Any

from ...results.record import JobResult
from .base import JobContext, JobKind, PlanContext, Price


class LatentEncoding(JobKind):
    """What priors, proxies and probes see of a tokenizer."""

    name, order, version = "latents", 50, 1
    evaluates = True
    requires = ("data", "tokenizer")

    def config(self, at: PlanContext) -> dict[str, Any]:
        stored = at.suite.evaluation.latents
        return {} if stored == "float32" else {"stored": stored}

    def price(self, at: PlanContext) -> Price:
        forward = at.cell.tokenizer.estimate_flops()
        return Price(flops=forward / 2 * sum(at.counts), step_flops=forward * 32, on_cpu=at.codec_on_cpu)

    def run(self, ctx: JobContext) -> JobResult:
        from ...tasks.encoding import write_latents, write_statistics

        splits = {"train": ctx.dataset.train, "val": ctx.dataset.val}
        for name, split in splits.items():
            write_latents(
                ctx.tokenizer,
                split,
                ctx.folder,
                name,
                device=ctx.device,
                batch_size=ctx.batch_size,
                stored=ctx.job.config.get("stored", "float32"),
                resume=True,
                progress=ctx.progress,
            )
        write_statistics(ctx.folder, published=getattr(ctx.tokenizer, "normalises", False))
        files = [*sorted(path.name for path in ctx.folder.glob("*.npy")), "statistics.json"]
        return JobResult(artifacts=tuple(files), extra={name: len(split) for name, split in splits.items()})
