"""Measured rate: how many bits the latents really carry, so that codecs, codes and values share an axis.

`rates` decides by which estimate (see `metrics.real_rate`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..results.metric import Metric
from ..tokenizers.interface import Latents
from .metrics import real_rate
from .metrics.jackknife import interval_of
from .metrics.rate import choose_step, quantised_entropy_bits

INCREASE = 0.05  # of the squared error, about 0.2 dB
PROTOCOL = (
    "order-0 entropy, per head of codes; per channel of continuous latents, rounded uniformly with the coarsest step "
    f"that raises the squared error by at most {INCREASE:.0%}"
)
OF_VALUES = f"order-0 entropy of the latents, rounded so that the squared error rises by at most {INCREASE:.0%}"
LOWEST, HIGHEST = 1e-3, 4.0


def stream_bits(lengths: Tensor, codebook_sizes: Sequence[int]) -> Metric:
    """Bits of sequences of `lengths` `[N]` positions, each position with one code of every codebook."""
    bits = lengths * sum(math.log2(size) for size in codebook_sizes)
    line = "sequences of varying length as stored: mean length x the sum of log2 of the codebook sizes"
    return Metric.from_samples(
        "stream_bits", bits.tolist(), direction="lower", unit="bit", protocol=line, role="rate", shown="asked"
    )


@torch.inference_mode()
def rate_of_values(
    decode: Callable[[Latents], Tensor],
    batches: Sequence[tuple[Tensor, Latents]],
    *,
    squared_error: float | None = None,
    read: Callable[[Latents], Latents] = lambda latents: latents,
) -> tuple[Metric, Tensor]:
    """`rate_bits` of continuous latents, their entropy at the coarsest harmless quantisation; and the bits of each of
    these samples `[N]` under the ideal code for all of them, NaN without a value.

    Each channel is rounded to multiples of step x its deviation; the step is the largest that raises the mean squared
    error of the decoded signals by at most 5 %. The bits are the order-0 entropy per channel, summed. `batches` are
    signals `[B, C, *shape]` with their latents, of which `decode` reads what `read` gives; `squared_error` is that of
    these decoded as they are, where it is known. The value is None where no step is harmless, or where a channel has
    fewer than 5 values per bin that occurs: too few for an entropy.
    """
    values = torch.cat([z.values for z in (read(z) for _, z in batches) if z.values is not None])
    axes = [0, *range(2, values.ndim)]
    deviation = values.double().std(axes, correction=0).clamp_min(1e-12)
    shaped = deviation.to(values.dtype).view(1, -1, *([1] * (values.ndim - 2)))
    elements = sum(x.numel() for x, _ in batches)

    def error(step: float) -> float:
        total = 0.0
        for x, z in batches:
            assert z.values is not None
            rounded = torch.round(z.values / (step * shaped)) * (step * shaped) if step else z.values
            total += float((decode(replace(z, values=rounded)).clamp(-1, 1) - x).double().square().sum())
        return total / elements

    baseline = error(0.0) if squared_error is None else squared_error / elements
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
