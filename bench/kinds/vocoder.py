"""The job "vocoder": what renders the spectrograms of a data set, trained on it once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...results.errors import UserError
from ...results.record import JobResult
from ...tasks.vocoders import GRIFFIN_LIM, VocoderConfig, vocoders
from ...tokenizers.part import plain, read_part
from ...tokenizers.spec import Modality
from ...tokenizers.training import TrainingConfig
from ..datasets.config import signal_spec
from ..grid import Cell
from ..suite import Suite
from .base import JobContext, JobKind, PlanContext, Price
from .reference import Waveforms

VOCODER = "vocoder"


class VocoderTraining(JobKind):
    """One per data set of spectrograms; none for Griffin-Lim, which the tasks compute themselves."""

    name, order, version, shared = VOCODER, 25, 1, True
    options = VocoderConfig
    requires = ("data",)

    def read(self, table: Mapping[str, Any], where: str) -> VocoderConfig:
        config = read_part(VocoderConfig, vocoders, {"kind": GRIFFIN_LIM, **table}, where=where).located(where)
        why = "(its random parts are drawn for the whole of it)"
        if config.training.micro_batch is not None:
            raise UserError(f"{where}.training.micro_batch: a batch can't be divided here {why}")
        if config.training.devices > 1:
            raise UserError(f"{where}.training.devices: several devices can't share a batch here {why}")
        return config

    def check(self, suite: Suite, cells: Sequence[Cell]) -> None:
        """Refuse a vocoder that has nothing to render, or can't render it."""
        vocoder: VocoderConfig = suite.options[self.name]
        rendered = [data for data in suite.data if data.modality is Modality.SPECTROGRAM]
        if vocoder.kind != GRIFFIN_LIM and not rendered:
            raise UserError(f"{suite.where}: vocoder: {vocoder.kind} renders spectrograms, and the suite has none")
        for data in rendered:
            if reason := vocoder.unsupported_reason(signal_spec(data)):
                raise UserError(f"{suite.where}: vocoder: {vocoder.kind} can't render {data.label}: {reason}")

    def config(self, at: PlanContext) -> dict[str, Any]:
        return {"vocoder": plain(at.suite.options[self.name])}

    def versions(self, at: PlanContext) -> dict[str, int]:
        vocoder: VocoderConfig = at.suite.options[self.name]
        own = {"training": TrainingConfig.version, f"vocoder.{vocoder.kind}": vocoder.version}
        return super().versions(at) | own

    def title(self, at: PlanContext) -> str:
        return f"vocoder {at.suite.options[self.name].kind} {at.data.label}"

    def price(self, at: PlanContext) -> Price:
        vocoder: VocoderConfig = at.suite.options[self.name]
        step = 3 * vocoder.estimate_flops(signal_spec(at.data)) * vocoder.training.batch_size
        return Price(flops=vocoder.training.flops or step * vocoder.training.steps, step_flops=step)

    def run(self, ctx: JobContext) -> JobResult:
        from ...tasks.vocoders.starts import Started

        data = ctx.dataset
        vocoder = ctx.untrained_vocoder(ctx.job.config)
        source: Any = Waveforms(data.train)
        if samples := vocoder.config.started(data.signal):
            source = Started(source, vocoder, ctx.folder, samples=samples)
        report = ctx.fit(vocoder, source, vocoder.config.training, seed=vocoder.config.seed)
        ctx.save(vocoder)
        return ctx.trained(vocoder, report)


def vocoder_needs(at: PlanContext) -> dict[str, str]:
    """The job of the vocoder by its role, for a task that hears the data set; empty where it needs none."""
    renders = at.data.modality is Modality.SPECTROGRAM and at.suite.options[VOCODER].kind != GRIFFIN_LIM
    return {VOCODER: at.need(VOCODER)} if renders else {}


def vocoder_versions(at: PlanContext) -> dict[str, int]:
    """The version of a vocoder that has no job: nothing at the first, which came before vocoders had versions."""
    vocoder = at.suite.options[VOCODER]
    hears = at.data.modality is Modality.SPECTROGRAM and vocoder.kind == GRIFFIN_LIM
    return {f"vocoder.{GRIFFIN_LIM}": vocoder.version} if hears and vocoder.version > 1 else {}
