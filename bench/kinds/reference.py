"""The job "reference": the features of one split under one net, computed once for all cells of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...results.errors import UserError
from ...results.record import JobResult
from ...tasks.metrics.config import measure_versions
from ...tasks.nets import nets
from ...tasks.nets.config import EncoderConfig
from ...tokenizers import weights
from ...tokenizers.validation import check_distinct
from ..datasets.config import DataConfig, signal_spec
from ..grid import Cell
from ..suite import Suite
from .base import JobContext, JobKind, PlanContext

ENCODER = "encoder"


class ReferenceFeatures(JobKind):
    """One per data set, net and split that something is compared with."""

    name, order, version, shared = "reference", 30, 1, True

    def check(self, suite: Suite, cells: Sequence[Cell]) -> None:
        """Refuse nets that do not exist, serve no data of the suite, or lack their weights."""
        check_distinct(suite.features, f"{suite.where}: features")
        for i, name in enumerate(suite.features):
            if name == ENCODER:
                continue
            where = f"{suite.where}: features[{i}]"
            net = nets.get(name, where=where)
            if not {data.modality for data in suite.data} & set(net.modalities):
                raise UserError(
                    f"{where}: {name} serves {', '.join(map(str, net.modalities))}, and the suite has no such data"
                )
        for data in suite.data:
            for name in set(serving(suite, data)) - {ENCODER}:
                nets.get(name).check(signal_spec(data), where=f"{suite.where}: features")

    def config(self, at: PlanContext) -> dict[str, Any]:
        net = at.choice["net"]
        used = None if net == ENCODER else nets.get(net).weights
        return dict(at.choice) if used is None else {**at.choice, "weights": weights.contents([used])}

    def versions(self, at: PlanContext) -> dict[str, int]:
        net = f"net.{at.choice['net']}"
        return super().versions(at) | {net: net_versions(at)[net]} | measure_versions("balls", "frechet")

    def needs(self, at: PlanContext) -> dict[str, str]:
        data = {"data": at.need("data")}
        return data | {"encoder": at.need("encoder")} if at.choice["net"] == ENCODER else data

    def run(self, ctx: JobContext) -> JobResult:
        from ...tasks.chunks import Chunks
        from ...tasks.distances import REFERENCE, Reference
        from ...tasks.features import collect
        from ...tasks.interface import slices

        name = ctx.job.config["split"]
        split = ctx.dataset.train if name == "train" else ctx.dataset.val
        (net,) = ctx.nets.values()
        read = _Waveforms(split) if net.reads == "waveform" else split

        chunks = Chunks(ctx.folder, {"pass": "features", "net": net.name})

        def signals() -> Iterator[Any]:
            done = chunks.done
            for indices in slices(read, len(split), ctx.batch_size, start=done):
                batch = read.batch(indices, ctx.device)
                yield batch
                done += len(batch)
                ctx.progress(done, len(split), "features")

        Reference.of(collect(net, signals(), chunks=chunks), name).save(ctx.folder)
        return JobResult(artifacts=(REFERENCE,), extra={"net": net.name, "samples": len(split)})


class _Waveforms:
    """A split's waveforms as a source of batches."""

    def __init__(self, split: Any) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def expect(self, indices: Any, draws: None = None) -> None:
        if expect := getattr(self.split, "expect", None):
            expect(indices)

    def batch(self, indices: Any, device: Any) -> Any:
        return self.split.sources(indices, device)


def serving(suite: Suite, data: DataConfig) -> list[str]:
    """The suite's nets that have features for the data set: the encoder first."""
    others = [name for name in suite.features if name != ENCODER and data.modality in nets.get(name).modalities]
    return [ENCODER] * (ENCODER in suite.features) + others


def net_versions(at: PlanContext) -> dict[str, int]:
    """Versions of the nets that serve the data set."""
    return {
        f"net.{name}": EncoderConfig.version if name == ENCODER else nets.version(name)
        for name in serving(at.suite, at.data)
    }


def references(at: PlanContext, split: str, prefix: str = "") -> dict[str, str]:
    """The jobs with a split's features by role, `reference.<net>`, and the encoder that they may need.

    With a `prefix` the roles are `<prefix>reference.<net>`, and the encoder is left to whoever needs the others.
    """
    jobs = {"encoder": at.need("encoder")} if ENCODER in at.suite.features and not prefix else {}
    return jobs | {
        f"{prefix}reference.{name}": at.need("reference", net=name, split=split) for name in serving(at.suite, at.data)
    }
