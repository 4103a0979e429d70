"""The real rate: how many bits a sample takes, by the one estimate that its latents allow.

1. A stream of bytes (JPEG, H.264, Opus, codes after an entropy coder): its actual bytes.
2. Codes: their order-0 entropy; where there are too few of them for an entropy, log2 of the codebook's size each, which
   is what they take at fixed length and the most that the entropy can be.
3. Continuous latents: their entropy at the coarsest harmless rounding (`tasks.rate_bits`).

All three are means over samples: of the stream's length, or of the length that an ideal code for all samples together
gives to this sample. Those lengths are what is kept beside a record.

Shape legend: N samples, H heads or channels, *grid the positions of a latent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...results.metric import NORMAL, Metric, Shown
from ...tokenizers.spec import LatentSpec, Modality, SignalSpec
from .codes import ESTIMATE

BYTES = "actual bytes of the stream"
OF_CODES = f"order-0 entropy of the codes, {ESTIMATE}"
FIXED_LENGTH = "at most: codes of fixed length, too few of them for an entropy"


@dataclass(frozen=True, kw_only=True)
class MeasuredRate:
    """Bits per sample over the set, and the bits of each sample `[N]`, NaN for those that were not measured."""

    metric: Metric
    by_sample: Tensor


def ideal_code_lengths(tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Whole numbers `[N, H, *grid]` to the bits `[N]` of each sample under the best order-0 code for all of them.

    The sum of -log2 p over heads and positions, p being the token's share among its head's. Of sequences `[N, H, L]`
    with `lengths` `[N]` what lies before their ends counts. The mean over samples is the plug-in entropy per sample,
    and the spread over samples, over √N, its standard error (the entropy's influence function).
    """
    tokens = tokens.flatten(2)
    inside = torch.ones(len(tokens), tokens.shape[2], dtype=torch.bool, device=tokens.device)
    if lengths is not None:
        inside = torch.arange(tokens.shape[2], device=tokens.device) < lengths.to(tokens.device).unsqueeze(1)
    bits = torch.zeros(len(tokens), dtype=torch.float64, device=tokens.device)
    for head in tokens.unbind(1):
        _, place, counts = torch.unique(head[inside], return_inverse=True, return_counts=True)
        each = torch.zeros(inside.shape, dtype=torch.float64, device=tokens.device)
        each[inside] = (math.log2(max(len(place), 1)) - counts.double().log2())[place]
        bits += each.sum(1)
    return bits


def rate_of_stream(lengths: Tensor) -> MeasuredRate:
    """The bits of streams of `lengths` `[N]` bytes."""
    bits = 8 * lengths.double().cpu()
    return MeasuredRate(metric=_metric(BYTES, samples=bits), by_sample=bits)


def rate_of_codes(entropy: Metric, ideal: Tensor, nominal: Tensor) -> MeasuredRate:
    """The bits of codes with the order-0 `entropy` per sample.

    `ideal` `[N]` are each sample's `ideal_code_lengths`, summed over grids, `nominal` `[N]` its bits at fixed length:
    the rate where the entropy has no value.
    """
    if entropy.value is None:
        bits = nominal.double().cpu()
        return MeasuredRate(metric=replace(_metric(FIXED_LENGTH, samples=bits), se=None, interval=None), by_sample=bits)
    return _of_entropy(entropy, OF_CODES, ideal)


def rate_of_values(entropy: Metric, ideal: Tensor, *, protocol: str) -> MeasuredRate:
    """The bits of continuous latents with the measured `entropy` (`rate_bits`, by `protocol`), NaN in `ideal` `[N]`
    where a sample was not read."""
    return _of_entropy(entropy, protocol, ideal)


def rate_metrics(rate: MeasuredRate, signal: SignalSpec) -> tuple[list[Metric], dict[str, Tensor]]:
    """`real_bits` per sample, `real_bits_per_pixel` of images and clips (of all frames) and `real_kbits_per_second` of
    what has a duration: as metrics, and by sample. One of the last two leads tables, as the modality has it."""
    sound = signal.modality.is_audio
    units: list[tuple[str, str, float, Shown]] = [("real_bits", "bit", 1.0, "default")]
    if not sound:
        units.append(("real_bits_per_pixel", "bit", 1 / math.prod(signal.shape), "first"))
    if signal.seconds:
        shown: Shown = "asked" if signal.modality is Modality.VIDEO else "first"
        units.append(("real_kbits_per_second", "kbit/s", 1e-3 / signal.seconds, shown))
    metrics = [replace(_scaled(rate.metric, by), name=name, unit=unit, shown=shown) for name, unit, by, shown in units]
    return metrics, {name: rate.by_sample * by for name, _, by, _ in units}


def fixed_length_bits(spec: LatentSpec, samples: int, lengths: Tensor | None) -> Tensor:
    """The bits `[N]` of each sample's codes at fixed length, of those before its end where it has `lengths` `[N]`."""
    if lengths is None:
        return torch.full((samples,), spec.bits_per_sample, dtype=torch.float64)
    return lengths.double().cpu() * sum(math.log2(size) for size in spec.grid.codebook_sizes)


def _of_entropy(entropy: Metric, protocol: str, ideal: Tensor) -> MeasuredRate:
    ideal = ideal.double().cpu()
    read = ideal[ideal.isfinite()]
    # Entropies are corrected for the number of tokens, which no single sample's length can be: all get the same share.
    by_sample = ideal + (entropy.value - read.mean() if entropy.value is not None and len(read) else math.nan)
    metric = replace(_metric(protocol), value=entropy.value, se=entropy.se, interval=entropy.interval, n=entropy.n)
    if metric.value is not None and metric.se is None and len(read) > 1:  # several grids have no jackknife together
        se = float(read.std()) / math.sqrt(len(read))
        metric = replace(metric, se=se, interval=(metric.value - NORMAL * se, metric.value + NORMAL * se))
    return MeasuredRate(metric=metric, by_sample=by_sample)


def _metric(protocol: str, samples: Tensor | None = None) -> Metric:
    bits = [] if samples is None else samples.tolist()
    return Metric.from_samples("real_bits", bits, direction="lower", unit="bit", protocol=protocol, role="rate")


def _scaled(metric: Metric, by: float) -> Metric:
    interval = None if metric.interval is None else (metric.interval[0] * by, metric.interval[1] * by)
    value, se = (None if x is None else x * by for x in (metric.value, metric.se))
    return replace(metric, value=value, se=se, interval=interval)
