"""The job "reference": the features of one split under one net, computed once for all cells of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...results.errors import UserError
from ...results.record import JobResult
from ...tasks.metrics.config import measure_versions
from ...tasks.nets import nets
from ...tasks.nets.config import ENCODER, PRETRAINED, EncoderConfig, pretrained
from ...tasks.statistics_file import EXTERNAL, StatisticsFile
from ...tokenizers import weights
from ...tokenizers.validation import check_distinct
from ..datasets.config import DataConfig, signal_spec
from ..grid import Cell
from ..jobs import BATCH_SIZE
from ..suite import Suite
from .base import SMALL, JobContext, JobKind, PlanContext, Price


class ReferenceFeatures(JobKind):
    """One per data set, net and split that something is compared with."""

    name, order, version, shared = "reference", 30, 1, True
    evaluates = True

    def check(self, suite: Suite, cells: Sequence[Cell]) -> None:
        """Refuse nets that do not exist, serve no data of the suite, or lack their weights."""
        check_distinct(suite.features, f"{suite.where}: features")
        for i, name in enumerate(suite.features):
            if name in (ENCODER, PRETRAINED):
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
        for i, data in enumerate(suite.data):
            if data.reference is not None and serving(suite, data):
                _check_external(suite, data, f"{suite.where}: data[{i}].reference")

    def config(self, at: PlanContext) -> dict[str, Any]:
        net = at.choice["net"]
        used = None if net == ENCODER else nets.get(net).weights
        config: dict[str, Any] = dict(at.choice)
        if used is not None:
            config["weights"] = weights.contents([used])
        if at.choice["split"] == EXTERNAL:
            config["file"] = at.data.reference
        return config

    def versions(self, at: PlanContext) -> dict[str, int]:
        net = f"net.{at.choice['net']}"
        return super().versions(at) | {net: net_versions(at)[net]} | measure_versions("balls", "frechet")

    def needs(self, at: PlanContext) -> dict[str, str]:
        data = {"data": at.need("data")}
        return data | {"encoder": at.need("encoder")} if at.choice["net"] == ENCODER else data

    def price(self, at: PlanContext) -> Price:
        if at.choice["split"] == EXTERNAL:
            return Price()
        count = at.counts[0 if at.choice["split"] == "train" else 1]
        net = [at.choice["net"]]
        memory = judging_memory(at, BATCH_SIZE, net)
        return Price(flops=1e9 + count * judging_flops(at, net), memory=memory)

    def run(self, ctx: JobContext) -> JobResult:
        from ...tasks.distances import FEATURES, REFERENCE, Reference, mapped_features
        from ...tasks.features import write_features

        name = ctx.job.config["split"]
        if name == EXTERNAL:
            return _from_file(ctx)
        split = ctx.dataset.train if name == "train" else ctx.dataset.val
        (net,) = ctx.nets.values()
        read = Waveforms(split) if net.reads == "waveform" else split

        write_features(net, read, ctx.folder, device=ctx.device, batch_size=ctx.batch_size, progress=ctx.progress)
        Reference.of(mapped_features(ctx.folder), name).save(ctx.folder)
        return JobResult(artifacts=(REFERENCE, FEATURES), extra={"net": net.name, "samples": len(split)})


def _from_file(ctx: JobContext) -> JobResult:
    """The job of a file of statistics."""
    from ...tasks.distances import REFERENCE
    from ...tasks.external_reference import external_reference

    (net,) = ctx.nets.values()
    file = StatisticsFile.inspect(ctx.job.config["file"])
    digest = weights.content_digest(file.path)
    external_reference(file, net, ctx.dataset.signal, ctx.device, digest=digest).save(ctx.folder)
    return JobResult(artifacts=(REFERENCE,), extra={"net": net.name, "samples": file.n, "file": digest})


class Waveforms:
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


def serving(suite: Suite, data: DataConfig, among: Sequence[str] = ()) -> list[str]:
    """The suite's nets that have features for the data set, in the suite's order; of those `among`, if any are."""
    names: list[str] = []
    for name in among or suite.features:
        if name == PRETRAINED:
            names += pretrained(signal_spec(data))
        elif name == ENCODER or data.modality in nets.get(name).modalities:
            names.append(name)
    return list(dict.fromkeys(names))


def judging_flops(at: PlanContext, among: Sequence[str] = ()) -> float:
    """FLOPs of the features of one signal under the nets that serve the data set."""
    signal = signal_spec(at.data)
    return sum(nets.get(name).estimate_flops(signal) for name in serving(at.suite, at.data, among) if name != ENCODER)


def judging_memory(at: PlanContext, batch_size: int, among: Sequence[str] = ()) -> int:
    """Bytes of a job that judges batches of so many: what is known of none, and the activations of the largest net."""
    signal = signal_spec(at.data)
    configs = [nets.get(name) for name in serving(at.suite, at.data, among) if name != ENCODER]
    sizes = (min(batch_size, net.at_once(signal) or 0) * net.unit_bytes * net.units(signal) for net in configs)
    return SMALL + int(max(sizes, default=0))


def net_versions(at: PlanContext, among: Sequence[str] = ()) -> dict[str, int]:
    """Versions of the nets that serve the data set."""
    return {
        f"net.{name}": EncoderConfig.version if name == ENCODER else nets.version(name)
        for name in serving(at.suite, at.data, among)
    }


def references(at: PlanContext, split: str, prefix: str = "", among: Sequence[str] = ()) -> dict[str, str]:
    """The jobs with a split's features by role, `reference.<net>`, and the encoder that they may need.

    With a `prefix` the roles are `<prefix>reference.<net>`, and the encoder is left to whoever needs the others.
    """
    names = serving(at.suite, at.data, among)
    jobs = {"encoder": at.need("encoder")} if ENCODER in names and not prefix else {}
    return jobs | {f"{prefix}reference.{name}": at.need("reference", net=name, split=split) for name in names}


def external_references(at: PlanContext, among: Sequence[str] = ()) -> dict[str, str]:
    """The jobs with what a file has for the nets that it serves, by role: `external_reference.<net>`."""
    if at.data.reference is None:
        return {}
    return {
        f"{EXTERNAL}_reference.{name}": at.need("reference", net=name, split=EXTERNAL)
        for name in _served(StatisticsFile.inspect(at.data.reference), at.suite, at.data)
        if name in serving(at.suite, at.data, among)
    }


def _served(file: StatisticsFile, suite: Suite, data: DataConfig) -> list[str]:
    others = [name for name in serving(suite, data) if name != ENCODER]
    return [name for name in others if file.unsupported_reason(name, nets.get(name).dim) is None]


def _check_external(suite: Suite, data: DataConfig, where: str) -> None:
    """Raises UserError for a file that is none of statistics, that no net of the suite can use, or that lacks what a
    score needs."""
    assert data.reference is not None
    file = StatisticsFile.inspect(data.reference, where=where)
    served = _served(file, suite, data)
    if not served:
        others = [name for name in serving(suite, data) if name != ENCODER]
        reasons = [str(file.unsupported_reason(name, nets.get(name).dim)) for name in others]
        of = file.net or "inception"
        reason = "; ".join(reasons) or f"the suite has no net that it is of: features = [{of!r}]"
        raise UserError(f"{where}: {file.path}: {reason}")
    scores = getattr(suite.options.get("generation"), "scores", ())
    if not file.pictures and "manifold" in scores and "generation" in suite.tasks:
        raise UserError(
            f"{where}: {file.path} holds moments alone, and the score 'manifold' needs features of the reference: use "
            "a file with pictures (arr_0), or leave it out of generation.scores"
        )
