"""The job "data": decode a data set once, into the cache."""

from __future__ import annotations

from typing import Any

from ...results.record import JobResult
from ..datasets import sources
from ..datasets.complaints import by_reason
from .base import JobContext, JobKind, PlanContext


class Data(JobKind):
    """What it reads, and how, is the data source's affair."""

    name, order, version, shared = "data", 10, 1, True

    def config(self, at: PlanContext) -> dict[str, Any]:
        return {"data": at.data.identity(), "fingerprint": at.fingerprint}

    def versions(self, at: PlanContext) -> dict[str, int]:
        own = {"data": at.data.version, f"source.{at.data.family}": sources.version(at.data.kind)}
        return super().versions(at) | own

    def run(self, ctx: JobContext) -> JobResult:

        data = ctx.dataset
        return JobResult(
            extra={
                "train": len(data.train),
                "val": len(data.val),
                "classes": list(data.classes),
                "counts": dict(data.counts),
                "skipped": [dict(item) for item in data.skipped],
                "reasons": by_reason(item["reason"] for item in data.skipped),
            }
        )
