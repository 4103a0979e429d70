"""Measured rate: how many bits the latents really carry, so that codecs, codes and values share an axis.

`measured_rates` decides by which estimate (see `metrics.real_rate`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..results.metric import Metric
from ..tokenizers.interface import Tokenizer
from .metrics import real_rate
from .metrics.balls import evenly
from .metrics.jackknife import interval_of
from .metrics.rate import choose_step, quantised_entropy_bits

INCREASE = 0.05  # of the squared error, about 0.2 dB
PROTOCOL = (
    "order-0 entropy, per head of codes; per channel of continuous latents, rounded uniformly with the coarsest step "
    f"that raises the squared error by at most {INCREASE:.0%}"
)
OF_VALUES = f"order-0 entropy of the latents, rounded so that the squared error rises by at most {INCREASE:.0%}"
LOWEST, HIGHEST = 1e-3, 4.0
_SAMPLES = 256


def measured_rates(
    tokenizer: Tokenizer,
    batches: Callable[[np.ndarray], Iterable[Tensor]],
    *,
    total: int,
    codes: Sequence[Tensor],
    lengths: Tensor | None,
    code_bits: Metric | None,
    rate_bits: bool,
) -> tuple[list[Metric], dict[str, Tensor]]:
    """The real rate of `total` samples where it is known, and `rate_bits` where it is asked for; the former by sample.

    `codes` `[N, H, *grid]` are those of each grid, `lengths` `[N]` where sequences end, `code_bits` the codes' entropy
    per sample. `batches(rows)` gives signals `[B, C, *shape]`: continuous latents, which are decoded again and again,
    have a rate only with `rate_bits`.
    """
    spec = tokenizer.spec
    if code_bits is not None:
        metrics = [rate_of_codes(code_bits)] if rate_bits else []
        if spec.grid.byte_stream and lengths is not None:
            rate = real_rate.rate_of_stream(lengths)
        else:
            ideal = torch.stack([real_rate.ideal_code_lengths(each, lengths) for each in codes]).sum(0)
            nominal = real_rate.fixed_length_bits(spec, total, lengths)
            rate = real_rate.rate_of_codes(code_bits, ideal, nominal)
    elif rate_bits:
        rows = evenly(total, _SAMPLES)
        measured, bits = rate_of_values(tokenizer, lambda: batches(rows.numpy()))
        metrics = [measured]
        ideal = torch.full((total,), math.nan, dtype=torch.float64)
        ideal[rows] = bits
        rate = real_rate.rate_of_values(measured, ideal, protocol=OF_VALUES)
    else:
        return [], {}
    real, by_sample = real_rate.rate_metrics(rate, spec.signal)
    return metrics + real, by_sample


def stream_bits(lengths: Tensor, codebook_sizes: Sequence[int]) -> Metric:
    """Bits of sequences of `lengths` `[N]` positions, each position with one code of every codebook."""
    bits = lengths * sum(math.log2(size) for size in codebook_sizes)
    line = "sequences of varying length as stored: mean length x the sum of log2 of the codebook sizes"
    return Metric.from_samples(
        "stream_bits", bits.tolist(), direction="lower", unit="bit", protocol=line, role="rate", shown="asked"
    )


@torch.inference_mode()
def rate_of_values(tokenizer: Tokenizer, batches: Callable[[], Iterable[Tensor]]) -> tuple[Metric, Tensor]:
    """`rate_bits` of a continuous tokenizer, the entropy of its latents at the coarsest harmless quantisation; and the
    bits of each of these samples `[N]` under the ideal code for all of them, NaN without a value.

    Each channel is rounded to multiples of step x its deviation; the step is the largest that raises the mean squared
    error of the decoded signals by at most 5 %. The bits are the order-0 entropy per channel, summed. `batches()` gives
    the signals `[B, C, *shape]`, afresh at every call. The value is None where no step is harmless, or where a channel
    has fewer than 5 values per bin that occurs: too few for an entropy.
    """
    targets = list(batches())
    latents = [tokenizer.encode(x) for x in targets]
    values = torch.cat([z.values for z in latents if z.values is not None])
    axes = [0, *range(2, values.ndim)]
    deviation = values.double().std(axes, correction=0).clamp_min(1e-12)
    shaped = deviation.to(values.dtype).view(1, -1, *([1] * (values.ndim - 2)))

    def error(step: float) -> float:
        total = count = 0.0
        for x, z in zip(targets, latents, strict=True):
            assert z.values is not None
            rounded = torch.round(z.values / (step * shaped)) * (step * shaped) if step else z.values
            total += float((tokenizer.decode(replace(z, values=rounded)).clamp(-1, 1) - x).double().square().sum())
            count += x.numel()
        return total / count

    baseline = error(0.0)
    bits = se = half = None
    by_sample = torch.full((len(values),), math.nan, dtype=torch.float64)
    if math.isfinite(baseline) and error(LOWEST) <= (1 + INCREASE) * baseline:
        step = choose_step(error, baseline=baseline, increase=INCREASE, bounds=(LOWEST, HIGHEST), tolerance=0.05)
        bits, se, half = quantised_entropy_bits(values, step * deviation)
        if bits is not None:
            by_sample = real_rate.ideal_code_lengths(torch.round(values.double() / (step * shaped.double()))).cpu()
    metric = Metric(
        name="rate_bits",
        value=bits,
        se=se,
        interval=interval_of(bits, half),
        n=len(values),
        direction="lower",
        unit="bit",
        protocol=PROTOCOL,
        role="rate",
        shown="asked",
    )
    return metric, by_sample


def rate_of_codes(bits: Metric) -> Metric:
    """`rate_bits` of a discrete tokenizer: the order-0 entropy of its codes per sample (`code_bits_per_sample`)."""
    return replace(bits, name="rate_bits", protocol=PROTOCOL, role="rate", direction="lower", shown="asked")
