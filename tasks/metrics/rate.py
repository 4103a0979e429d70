"""Bits of continuous latents: the entropy they have when quantised uniformly.

Shape legend: N samples, C channels, *grid the positions of a latent.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ...results.errors import UserError
from .codes import entropy_bits


def quantised_entropy_bits(values: Tensor, step: float | Tensor) -> float:
    """Bits per sample of `[N, C, *grid]` rounded to multiples of `step` (one, or one per channel `[C]`).

    Order-0 plug-in entropy of each channel over all samples and positions, times positions, summed over channels. Fine
    steps give h(X) - log2 step (differential entropy); the estimate cannot exceed log2 of the values per channel, so
    keep those many times the number of occupied bins. Raises UserError for a step that is not positive or values that
    are not finite.
    """
    steps = torch.as_tensor(step, dtype=torch.float64, device=values.device).expand(values.shape[1])
    if not bool((steps > 0).all()) or not bool(torch.isfinite(values).all()):
        raise UserError("quantised entropy needs a positive step and finite values")
    positions = math.prod(values.shape[2:])
    bits = 0.0
    for channel, width in zip(values.transpose(0, 1).flatten(1), steps, strict=True):
        bins = torch.round(channel.double() / width)
        bits += entropy_bits(torch.unique(bins, return_counts=True)[1])
    return bits * positions


def choose_step(
    mse: Callable[[float], float],
    *,
    baseline: float,
    increase: float = 0.05,
    bounds: tuple[float, float] = (1e-3, 10.0),
    tolerance: float = 0.01,
) -> float:
    """The largest quantisation step whose distortion `mse(step)` is at most (1 + increase) · baseline.

    `baseline` is the distortion without quantisation; `mse` is taken to grow with the step and is called about
    log2(ln(high/low) / tolerance) times; the answer is right to a relative `tolerance`. Gives the upper bound when even
    that is fine enough; raises UserError when the lower bound is too coarse.
    """
    allowed = (1 + increase) * baseline
    low, high = bounds
    if mse(high) <= allowed:
        return high
    if not mse(low) <= allowed:
        raise UserError(f"even a step of {low:g} raises the error by more than {increase:.1%}; lower the bound")
    while math.log(high / low) > tolerance:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if mse(middle) <= allowed else (low, middle)
    return low
