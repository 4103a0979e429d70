"""The job "data": decode a data set once, into the cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...results.errors import UserError
from ...results.record import JobResult
from ..datasets import sources
from ..datasets.complaints import by_reason
from ..grid import Cell
from ..suite import Suite
from .base import JobContext, JobKind, PlanContext, Price


class Data(JobKind):
    """What it reads, and how, is up to the data source."""

    name, order, version, shared = "data", 10, 1, True

    def check(self, suite: Suite, cells: Sequence[Cell]) -> None:
        """Refuse to train on files that are all for validation."""
        for cell in cells:
            if not cell.data.all_validation:
                continue
            trained = "a prior" if "generation" in cell.tasks else cell.tokenizer_name
            if cell.tokenizer.training.steps or "generation" in cell.tasks:
                raise UserError(
                    f"{suite.where}: data.val = 1.0 leaves {cell.data.label} nothing to train {trained} on: it is for "
                    "tokenizers that are not trained here, without generation"
                )

    def config(self, at: PlanContext) -> dict[str, Any]:
        return {"data": at.data.identity(), "fingerprint": at.fingerprint}

    def versions(self, at: PlanContext) -> dict[str, int]:
        own = {"data": at.data.version, f"source.{at.data.family}": sources.version(at.data.kind)}
        return super().versions(at) | own

    def price(self, at: PlanContext) -> Price:
        return Price(on_cpu=True)

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
                "notes": list(data.notes),
            }
        )
