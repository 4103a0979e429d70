"""The task "reconstruction": how well the validation split comes back, and at what rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from ...results.errors import UserError
from ...results.record import JobResult
from ...tasks.config import ReconstructionConfig
from ...tasks.metric_names import with_point
from ...tasks.metrics.config import (
    HEARING,
    LPIPS,
    SPEECH,
    TEMPORAL,
    ClipConfig,
    PairMetricConfig,
    SpeechConfig,
    measure_versions,
    metrics,
)
from ...tasks.metrics.reported import distance_names, latent_names, operating_point_names, pair_names, rate_names
from ...tokenizers import weights
from ...tokenizers.spec import Modality
from ..datasets.config import signal_spec
from ..grid import Cell
from ..presets import marked
from ..suite import Suite
from .base import JobContext, JobKind, PlanContext, Price, task_options, without_batch
from .reference import external_references, judging_flops, judging_memory, net_versions, references
from .vocoder import vocoder_needs, vocoder_versions


class Reconstruction(JobKind):
    """Metrics of pairs, Fréchet and kernel distances to the validation split, rate, operating points."""

    name, order, version, task = "reconstruction", 60, 2, "default"
    options = ReconstructionConfig
    evaluates = True
    requires = ("data", "tokenizer")

    def check(self, suite: Suite, cells: Sequence[Cell]) -> None:
        for config in LPIPS[suite.options[self.name].lpips]:
            weights.require(config.weights, where=f"{suite.where}: reconstruction.lpips")
        if suite.options[self.name].speech:
            for package in {config.package: None for config in SPEECH}:
                if find_spec(package) is None:
                    where = f"{suite.where}: reconstruction.speech"
                    raise UserError(f"{where}: needs the package {package}: pip install 'latentbench[speech]'")
            _check_signals(suite, "speech", SPEECH, "sounds")
        if suite.options[self.name].hearing:
            _check_signals(suite, "hearing", HEARING, "sounds")
        if suite.options[self.name].temporal:
            _check_signals(suite, "temporal", TEMPORAL, "clips")

    def config(self, at: PlanContext) -> dict[str, Any]:
        options: ReconstructionConfig = at.suite.options[self.name]
        if options.lpips == "off" or at.data.modality.is_audio:
            return without_batch(options.identity()) | at.preset
        return (
            without_batch(options.identity())
            | at.preset
            | {"weights": weights.contents([config.weights for config in LPIPS[options.lpips]])}
        )

    def runtime(self, at: PlanContext) -> dict[str, Any]:
        return {"batch_size": at.suite.options[self.name].batch_size}

    def versions(self, at: PlanContext) -> dict[str, int]:
        pairs = {f"metric.{name}": metrics.version(name) for name in metrics.names()}
        asked = [config.kind for config in (*LPIPS[at.suite.options[self.name].lpips], *_speech(at), *_hearing(at))]
        if at.data.modality is Modality.VIDEO:
            asked.append("clip_psnr")
            asked += [config.kind for config in TEMPORAL if at.suite.options[self.name].temporal]
        measures = measure_versions("codes", "frechet", "kid", "posterior", "rate", *asked)
        return super().versions(at) | pairs | measures | net_versions(at) | vocoder_versions(at)

    def needs(self, at: PlanContext) -> dict[str, str]:
        return super().needs(at) | references(at, "val") | external_references(at) | vocoder_needs(at)

    def price(self, at: PlanContext) -> Price:
        options: ReconstructionConfig = at.suite.options[self.name]
        forward, (_, n_val) = at.cell.tokenizer.estimate_flops(), at.counts
        judged = min(n_val, options.samples or n_val) * judging_flops(at)
        whole = forward * n_val * (8 if options.rate else 1)
        memory = judging_memory(at, options.batch_size)
        return Price(flops=whole + judged, step_flops=forward * options.batch_size, memory=memory)

    def imports(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        return ("latentbench.tasks.reconstruction",)

    def reports(self, modality: Modality) -> tuple[str, ...] | None:
        distances = [f"r{name}" for name in distance_names()]
        rates = rate_names(modality)
        compared = [*pair_names(modality), *distances]
        of_vocoder = [f"{name}_vocoder" for name in compared if modality is Modality.SPECTROGRAM]
        at_points = with_point([*operating_point_names(modality), *rates, *distances])
        return (*compared, *of_vocoder, *rates, *latent_names(), *at_points)

    def run(self, ctx: JobContext) -> JobResult:
        from ...tasks.reconstruction import reconstruct

        config = ReconstructionConfig(**task_options(ctx.job.config), batch_size=ctx.job.runtime["batch_size"])
        extra = []
        if not ctx.dataset.signal.modality.is_audio:
            for lpips in LPIPS[config.lpips]:
                extra.append(lpips.build(lpips.load_net(weights.require(lpips.weights)).to(ctx.device)))
        if config.speech and ctx.dataset.signal.modality.is_audio:
            extra += [speech.build() for speech in SPEECH]
        if config.hearing and ctx.dataset.signal.modality.is_audio:
            extra += [metric.build() for metric in HEARING]
        if config.temporal and ctx.dataset.signal.modality is Modality.VIDEO:
            from ...tasks.metrics.seams import borders

            tokenizer = ctx.tokenizer_config
            at_border = borders(tokenizer.spec, tokenizer.downsample[0])
            extra += [temporal.build(at_border) for temporal in TEMPORAL if at_border or temporal.kind == "flicker"]
        result = reconstruct(
            ctx.tokenizer, ctx.dataset, config, ctx.task_context(), references=ctx.references, extra_metrics=extra
        )
        return marked(result, ctx.job.config.get("preset"))


def _speech(at: PlanContext) -> tuple[SpeechConfig, ...]:
    """The scores of speech that the suite asks for, for data that are sounds."""
    return SPEECH if at.suite.options[Reconstruction.name].speech and at.data.modality.is_audio else ()


def _hearing(at: PlanContext) -> tuple[ClipConfig, ...]:
    """The differences of loudness and pitch that the suite asks for, for data that are sounds."""
    return HEARING if at.suite.options[Reconstruction.name].hearing and at.data.modality.is_audio else ()


def _check_signals(suite: Suite, option: str, measured: Sequence[PairMetricConfig], signals: str) -> None:
    """Raises UserError where the option asks for what none of the suite's sounds or clips, or not all of them, can
    have."""
    where = f"{suite.where}: reconstruction.{option}"
    scored = [data for data in suite.data if data.modality in measured[0].modalities]
    if not scored:
        raise UserError(f"{where}: scores {signals}, and the suite has none")
    longer = "data.seconds" if signals == "sounds" else "data.frames"
    for config in measured:
        for data in scored:
            reason = config.unsupported_reason(signal_spec(data))
            if reason is not None:
                raise UserError(f"{where}: {config.kind} of {data.label}: {reason}; set {longer}")
