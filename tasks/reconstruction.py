"""The reconstruction task: how well signals come back, scored on the validation split.

A spectrogram is scored as log-mel and, through a vocoder, as audio; the vocoder's own ceiling (the true mel through
the same vocoder) stands beside it, so that its loss is not blamed on the tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..results.gallery import PAIRS
from ..results.metric import Metric
from ..results.record import JobResult
from ..results.samples import LEFT_OUT, VALUES
from ..tokenizers.interface import Tokenizer
from ..tokenizers.spec import LatentSpec, Modality, SignalSpec
from .chunks import Chunks
from .collected import Collected
from .config import ReconstructionConfig
from .distances import Reference, distances, paired_distances
from .interface import Context, Dataset, FeatureNet, slices
from .metrics import metrics as registry
from .metrics.codes import CodeHistogram, code_metrics
from .metrics.interface import PairMetric, per_position
from .metrics.posterior import ACTIVE_VARIANCE
from .metrics.psnr import Psnr, of_clips
from .operating_points import OperatingPoints
from .rate_bits import stream_bits
from .rate_sample import RateSample
from .rates import Rates
from .statistics_file import EXTERNAL

_GROUPS = 10


def pair_metrics(signal: SignalSpec) -> list[PairMetric]:
    """The metrics without weights that are defined for such signals."""
    configs = [registry.get(name)() for name in registry.names()]
    return [config.build() for config in configs if config.unsupported_reason(signal) is None]


@torch.inference_mode()
def reconstruct(
    tokenizer: Tokenizer,
    dataset: Dataset,
    config: ReconstructionConfig,
    context: Context,
    *,
    references: dict[str, Reference],
    extra_metrics: Sequence[PairMetric] = (),
) -> JobResult:
    """Score `tokenizer` on `dataset.val`: distortion per sample, Fréchet and kernel distances, use of codes, rate.

    `references` are the validation split's features by net (`context.nets` holds the nets); where `context.references`
    has one of a file for a net, that is what its distances compare with. `extra_metrics` need weights (LPIPS) or
    packages (PESQ). A posterior is decoded at its mode. `extra` of the result has PSNR by position in the clip, `run`
    the decoding latency at each of the tokenizer's operating points, where it has any. A call that was ended goes on
    from the samples that it had, in `context.folder`. The first `config.keep` true signals and their reconstructions
    are kept in `pairs.safetensors`.
    """
    split, signal, spec = dataset.val, dataset.signal, tokenizer.spec
    total = min(config.samples or len(split), len(split))
    metrics = [*pair_metrics(signal), *extra_metrics]
    vocoder = context.vocoder_of(signal, config.vocoder_iterations)
    note = "" if vocoder is None else f"audio through {vocoder.protocol}"
    groups = min(_GROUPS, total) if spec.discrete else 0
    histograms = [[CodeHistogram(grid.codebook_sizes) for _ in range(groups)] for grid in spec.grids]
    points = OperatingPoints(tokenizer.decode, tokenizer.operating_points(), signal, context.nets, context.device)
    collected = Collected(spec.grids, histograms, points)
    sample = RateSample(total) if config.rate and not spec.discrete else None
    chunks = Chunks(context.folder, {"pass": "reconstruction", "samples": total, "keep": config.keep, "version": 3})
    collected.go_on(chunks)
    for indices in slices(split, total, config.batch_size, start=chunks.done):
        target = split.batch(indices, context.device)
        latents = tokenizer.encode(target)
        decoded = collected.decode(latents, target)
        rendered = decoded if vocoder is None else vocoder.render(decoded)
        source = split.sources(indices, context.device) if signal.modality.is_audio else target
        ceiling = None if vocoder is None else vocoder.render(target)
        collected.add_pairs(target, decoded, most=config.keep - int(indices[0]))
        of_signal, of_waveform = (decoded, target), (rendered, source)
        for metric in metrics:
            pair = of_waveform if metric.config.reads == "waveform" else of_signal
            collected.add(metric.config.kind, metric.values(*pair, signal))
            if metric.config.reads == "waveform" and ceiling is not None:
                collected.add(f"{metric.config.kind}_vocoder", metric.values(ceiling, source, signal))
        for name, net in context.nets.items():
            collected.rows[f"features.{name}"] = net_features(net, decoded, rendered)
            if ceiling is not None and net.reads == "waveform":
                collected.rows[f"features_vocoder.{name}"] = net_features(net, target, ceiling)
        collected.add_latents(latents, indices)
        if sample is not None:
            collected.add_rate(sample.see(indices, target, latents, decoded))
        collected.add_to(chunks, len(indices))
        context.progress(int(indices[-1]) + 1, total, "reconstructing")
    collected.rows = chunks.rows()
    collected.count()
    results, extra = _summaries(metrics, collected, signal, note)
    of_nets, left_out = _net_distances(collected, context, references, note)
    results += of_nets
    of_latents, by_channel = _latent_metrics(collected, histograms, spec)
    results += of_latents
    extra |= by_channel
    rates = Rates(
        tokenizer,
        collected,
        sample,
        total=total,
        batch_size=config.batch_size,
        read=lambda rows: split.batch(rows, context.device),
    )
    code_bits = next((m for m in results if m.name == "code_bits_per_sample"), None)
    measured, by_sample = rates.full(code_bits, rate_bits=config.rate)
    results += measured
    for point, decode in points.points.items():
        measured, at_point = rates.at(point, decode)
        results += measured
        by_sample |= at_point
    of_points, without_group = points.results(collected.of_points(), references)
    results += of_points
    left_out |= without_group
    if left_out:
        extra[LEFT_OUT] = left_out
    collected.save(context.folder, by_sample | points.by_sample(collected.of_points()))
    latencies = points.latencies()
    return JobResult(
        metrics=tuple(replace(m, protocol=f"{m.protocol}; validation split") for m in results),
        extra=extra,
        artifacts=(VALUES, PAIRS) if "pair.true" in collected.rows else (VALUES,),
        run={"decode_seconds": latencies} if latencies else {},
    )


@torch.inference_mode()
def net_features(net: FeatureNet, decoded: Tensor, rendered: Tensor) -> Tensor:
    """Features of a batch: of the waveform for a net that reads waveforms, else of the signal."""
    return net.features(rendered if net.reads == "waveform" else decoded)


def _of_grids(histograms: Sequence[Sequence[CodeHistogram]]) -> list[Metric]:
    """Code metrics of a hierarchy: of each grid by its number, from the coarsest on, and of all grids together: use and
    perplexity as means over all heads, bits as a sum."""
    each = [{metric.name: metric for metric in code_metrics(level)} for level in histograms]
    results = [
        replace(m, name=f"grid{number}_{m.name}", shown="asked")
        for number, grid in enumerate(each)
        for m in grid.values()
    ]
    heads = [len(level[0].codebook_sizes) for level in histograms]
    for name in ("codebook_use", "codebook_perplexity", "code_bits_per_sample"):
        weights = [1.0] * len(each) if name == "code_bits_per_sample" else [h / sum(heads) for h in heads]
        parts = [grid[name].value for grid in each]
        known = [part * weight for part, weight in zip(parts, weights, strict=True) if part is not None]
        value = sum(known) if len(known) == len(parts) else None
        results.append(replace(each[0][name], value=value, se=None, interval=None))
    return results


def _posterior(collected: Collected) -> tuple[list[Metric], dict[str, Any]]:
    """How much a posterior says, and by channel, where a collapse shows."""
    by_channel = collected.rows["kl_bits"]
    bits = Metric.from_samples(
        "kl_bits",
        by_channel.sum(1).tolist(),
        direction="none",
        unit="bit",
        protocol="KL of the posterior to N(0, I), summed over the sample",
        role="latents",
        shown="asked",
    )
    extra: dict[str, Any] = {"kl_bits_by_channel": by_channel.mean(0).tolist()}
    if len(by_channel) < 2:
        return [bits], extra
    active = collected.units.active()
    extra["active_units_by_channel"] = active
    line = f"latent values whose posterior mean has a variance above {ACTIVE_VARIANCE:g} over samples"
    units = Metric(
        name="active_units",
        value=float(sum(active)),
        n=len(by_channel),
        unit="values",
        protocol=line,
        role="latents",
        shown="asked",
    )
    return [bits, units], extra


def _summaries(
    metrics: Sequence[PairMetric], collected: Collected, signal: SignalSpec, note: str
) -> tuple[list[Metric], dict[str, Any]]:
    results: list[Metric] = []
    extra: dict[str, Any] = {}
    for metric in metrics:
        values = collected.values(metric.config.kind)
        summary = metric.summary(values, signal)
        if metric.config.reads == "waveform" and signal.mel is not None:
            summary = replace(summary, protocol=f"{summary.protocol}; {note}")
            results.append(_ceiling(metric.summary(collected.values(f"{metric.config.kind}_vocoder"), signal), note))
        results.append(summary)
        if signal.modality is Modality.VIDEO and values.ndim == 2:
            extra[f"{metric.config.kind}_by_frame"] = per_position(values)
            if isinstance(metric, Psnr):
                for name, per_clip in of_clips(values).items():
                    collected.add(name, per_clip)
                    results.append(metric.clip_summary(name, per_clip, signal))
    return results, extra


def _net_distances(
    collected: Collected, context: Context, references: dict[str, Reference], note: str
) -> tuple[list[Metric], dict[str, list[float]]]:
    """Distances under every net, and what `paired_distances` gives without each group of samples."""
    results: list[Metric] = []
    left_out: dict[str, list[float]] = {}
    for name, net in context.nets.items():
        compared = partial(_compared, net, context, references.get(name))
        measured, without_group = compared(collected.rows[f"features.{name}"], note)
        results += measured
        left_out |= {key: values for key, values in without_group.items() if values}
        of_ceiling = collected.rows.get(f"features_vocoder.{name}")
        if of_ceiling is not None:
            results.append(_ceiling(compared(of_ceiling, "")[0][0], note))
    return results, left_out


def _compared(
    net: FeatureNet, context: Context, reference: Reference | None, features: Tensor, note: str
) -> tuple[list[Metric], dict[str, list[float]]]:
    """Distances to a reference from elsewhere where there is one, else to the originals, sample by sample."""
    external = context.references.get((net.name, EXTERNAL))
    if external is not None:
        return distances("r", net, features, external, note=note, seed=context.seed), {}
    assert reference is not None  # every data set has its own, but where all are from elsewhere
    return paired_distances(net, features, reference, note=note)


def _ceiling(metric: Metric, note: str) -> Metric:
    """What the vocoder loses by itself, beside what is lost with the tokenizer: no goal, and so without a direction."""
    line = f"{metric.protocol}; of the true mel {note}: the vocoder's own"
    return replace(metric, name=f"{metric.name}_vocoder", protocol=line, direction="none", shown="default")


def _latent_metrics(
    collected: Collected, histograms: Sequence[Sequence[CodeHistogram]], spec: LatentSpec
) -> tuple[list[Metric], dict[str, Any]]:
    """What the latents themselves say: of a posterior, of codes, of sequences of varying length."""
    results, extra = _posterior(collected) if "kl_bits" in collected.rows else ([], {})
    if spec.discrete:
        results += code_metrics(histograms[0]) if len(histograms) == 1 else _of_grids(histograms)
    if "lengths" in collected.rows:
        results.append(stream_bits(collected.rows["lengths"], spec.grid.codebook_sizes))
    return results, extra
