"""Measured rate: how many bits the latents really carry, so that continuous and discrete ones share an axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor

from ..results.metric import Metric
from ..tokenizers.interface import Latents, Tokenizer
from .metrics.jackknife import interval_of
from .metrics.rate import choose_step, quantised_entropy_bits

INCREASE = 0.05  # of the squared error, about 0.2 dB
PROTOCOL = (
    "order-0 entropy, per head of codes; per channel of continuous latents, rounded uniformly with the coarsest step "
    f"that raises the squared error by at most {INCREASE:.0%}"
)
LOWEST, HIGHEST = 1e-3, 4.0


@torch.inference_mode()
def rate_of_values(tokenizer: Tokenizer, batches: Callable[[], Iterable[Tensor]]) -> Metric:
    """`rate_bits` of a continuous tokenizer: entropy of its latents at the coarsest harmless quantisation.

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
            total += float((tokenizer.decode(Latents(values=rounded)).clamp(-1, 1) - x).double().square().sum())
            count += x.numel()
        return total / count

    baseline = error(0.0)
    bits = se = half = None
    if math.isfinite(baseline) and error(LOWEST) <= (1 + INCREASE) * baseline:
        step = choose_step(error, baseline=baseline, increase=INCREASE, bounds=(LOWEST, HIGHEST), tolerance=0.05)
        bits, se, half = quantised_entropy_bits(values, step * deviation)
    return Metric(
        name="rate_bits",
        value=bits,
        se=se,
        interval=interval_of(bits, half),
        n=len(values),
        direction="none",
        unit="bit",
        protocol=PROTOCOL,
        role="rate",
    )


def rate_of_codes(bits: Metric) -> Metric:
    """`rate_bits` of a discrete tokenizer: the order-0 entropy of its codes per sample (`code_bits_per_sample`)."""
    return replace(bits, name="rate_bits", protocol=PROTOCOL, role="rate", shown="default")
