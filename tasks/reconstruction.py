"""The reconstruction task: how well signals come back, scored on the validation split.

A spectrogram is scored as log-mel and, through Griffin-Lim, as audio; the vocoder's own ceiling (the true mel through
the same vocoder) stands beside it, so that its loss is not blamed on the tokenizer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..results.metric import Metric
from ..tokenizers.interface import Latents, Tokenizer
from ..tokenizers.mel import LogMel
from ..tokenizers.spec import Modality, SignalSpec
from .config import ReconstructionConfig
from .distances import Reference, distances
from .interface import Context, Dataset, FeatureNet, Split, TaskResult
from .metrics import metrics as registry
from .metrics.codes import CodeHistogram, code_metrics
from .metrics.interface import PairMetric, per_position
from .rate import rate_of_codes, rate_of_values

_RATE_SAMPLES = 256
_GROUPS = 10


def pair_metrics(signal: SignalSpec) -> list[PairMetric]:
    """The metrics without weights that are defined for such signals."""
    found = [registry.get(name) for name in registry.names()]
    return [metric() for metric in found if signal.modality in metric.modalities]


@dataclass
class _Kept:
    """What a pass over the split keeps: values per metric, features per net, code counts, KL."""

    values: dict[str, list[Tensor]] = field(default_factory=dict)
    features: dict[str, list[Tensor]] = field(default_factory=dict)
    kl_bits: list[Tensor] = field(default_factory=list)
    lengths: list[Tensor] = field(default_factory=list)

    def add(self, name: str, values: Tensor) -> None:
        self.values.setdefault(name, []).append(values.double().cpu())


@torch.inference_mode()
def reconstruct(
    tokenizer: Tokenizer,
    dataset: Dataset,
    config: ReconstructionConfig,
    context: Context,
    *,
    references: dict[str, Reference],
    extra_metrics: Sequence[PairMetric] = (),
) -> TaskResult:
    """Score `tokenizer` on `dataset.val`: distortion per sample, Fréchet and kernel distances, use of codes, rate.

    `references` are the validation split's features by net (`context.nets` holds the nets); `extra_metrics` need
    weights (LPIPS). A posterior is decoded at its mode. `extra` of the result has PSNR by position in the clip.
    """
    split, signal, spec = dataset.val, dataset.signal, tokenizer.spec
    total = min(config.samples or len(split), len(split))
    metrics = [*pair_metrics(signal), *extra_metrics]
    vocoder = LogMel(signal.mel).to(context.device) if signal.mel is not None else None
    kept = _Kept()
    groups = min(_GROUPS, total) if spec.discrete else 0
    histograms = [CodeHistogram(spec.grid.codebook_sizes) for _ in range(groups)]
    for indices in _slices(total, config.batch_size):
        truth = split.batch(indices, context.device)
        latents = tokenizer.encode(truth)
        decoded = tokenizer.decode(latents).float().clamp(-1, 1)
        heard = _heard(decoded, vocoder, signal, config)
        source = split.sources(indices, context.device) if signal.modality.is_audio else truth
        ceiling = None if vocoder is None else vocoder.invert(truth, iterations=config.vocoder_iterations)
        for metric in metrics:
            if metric.reads == "waveform":
                kept.add(metric.name, metric.values(heard, source, signal))
                if ceiling is not None:
                    kept.add(f"{metric.name}_vocoder", metric.values(ceiling, source, signal))
            else:
                kept.add(metric.name, metric.values(decoded, truth, signal))
        for name, net in context.nets.items():
            kept.features.setdefault(name, []).append(net_features(net, decoded, heard))
        if latents.scale is not None:
            kept.kl_bits.append(_kl_bits(latents))
        if latents.lengths is not None:
            kept.lengths.append(latents.lengths.double().cpu())
        if latents.codes is not None:
            for group, histogram in enumerate(histograms):
                mine = np.flatnonzero(indices % groups == group)
                rows = torch.from_numpy(mine).to(latents.codes.device)
                histogram.update(latents.codes[rows], None if latents.lengths is None else latents.lengths[rows])
        context.progress(int(indices[-1]) + 1, total, "reconstructing")
    found, extra = _summaries(metrics, kept, signal, config)
    for name, net in context.nets.items():
        features = torch.cat(kept.features[name])
        found += distances("r", net, features, references[name], note=_through(signal, config), seed=context.seed)
    if kept.kl_bits:
        found.append(
            Metric.from_samples(
                "kl_bits",
                torch.cat(kept.kl_bits).tolist(),
                direction="none",
                unit="bit",
                protocol="KL of the posterior to N(0, I), summed over the sample",
            )
        )
    if histograms:
        found += code_metrics(histograms)
    if kept.lengths:
        per_position = sum(math.log2(size) for size in spec.grid.codebook_sizes)
        line = "sequences of varying length as stored: mean length x the sum of log2 of the codebook sizes"
        bits = (torch.cat(kept.lengths) * per_position).tolist()
        found.append(Metric.from_samples("stream_bits", bits, direction="none", unit="bit", protocol=line))
    if config.rate:
        found.append(_rate(tokenizer, split, total, config, context, found))
    return TaskResult(metrics=tuple(replace(m, protocol=f"{m.protocol}; validation split") for m in found), extra=extra)


@torch.inference_mode()
def net_features(net: FeatureNet, decoded: Tensor, heard: Tensor) -> Tensor:
    """Features of a batch, on the CPU: of what is heard for a net that reads waveforms, else of the signal."""
    return net(heard if net.reads == "waveform" else decoded).float().cpu()


def _heard(decoded: Tensor, vocoder: LogMel | None, signal: SignalSpec, config: ReconstructionConfig) -> Tensor:
    """The waveform of an audio signal: a spectrogram's through the vocoder."""
    return decoded if vocoder is None else vocoder.invert(decoded, iterations=config.vocoder_iterations)


def _through(signal: SignalSpec, config: ReconstructionConfig) -> str:
    return f"audio through Griffin-Lim, {config.vocoder_iterations} iterations" if signal.mel is not None else ""


def _slices(total: int, size: int) -> Iterator[np.ndarray]:
    for start in range(0, total, size):
        yield np.arange(start, min(start + size, total))


def _kl_bits(latents: Latents) -> Tensor:
    """KL of each sample's diagonal Gaussian posterior to N(0, I), in bits: `[B]` (Kingma & Welling 2014, app. B)."""
    assert latents.values is not None
    assert latents.scale is not None
    mean, std = latents.values.double().flatten(1), latents.scale.double().flatten(1)
    return (0.5 * (mean.square() + std.square() - 1 - 2 * std.log()).sum(1) / math.log(2)).cpu()


def _summaries(
    metrics: Sequence[PairMetric], kept: _Kept, signal: SignalSpec, config: ReconstructionConfig
) -> tuple[list[Metric], dict[str, Any]]:
    found: list[Metric] = []
    extra: dict[str, Any] = {}
    for metric in metrics:
        values = torch.cat(kept.values[metric.name])
        summary = metric.summary(values, signal)
        if metric.reads == "waveform" and signal.mel is not None:
            summary = replace(summary, protocol=f"{summary.protocol}; {_through(signal, config)}")
            ceiling = metric.summary(torch.cat(kept.values[f"{metric.name}_vocoder"]), signal)
            note = f"of the true mel {_through(signal, config)}: the vocoder's own"
            found.append(
                replace(
                    ceiling, name=f"{metric.name}_vocoder", protocol=f"{ceiling.protocol}; {note}", direction="none"
                )
            )
        found.append(summary)
        if signal.modality is Modality.VIDEO and values.ndim == 2:
            extra[f"{metric.name}_by_frame"] = per_position(values)
    return found, extra


def _rate(
    tokenizer: Tokenizer, split: Split, total: int, config: ReconstructionConfig, context: Context, found: list[Metric]
) -> Metric:
    if tokenizer.spec.discrete:
        return rate_of_codes(next(m for m in found if m.name == "code_bits_per_sample"))
    total = min(total, _RATE_SAMPLES)
    return rate_of_values(
        tokenizer, lambda: (split.batch(indices, context.device) for indices in _slices(total, config.batch_size))
    )
