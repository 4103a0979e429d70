"""Bits of continuous latents: the entropy they have when quantised uniformly.

Shape legend: N samples, C channels, *grid the positions of a latent.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ...results.errors import UserError
from .entropy import enough_tokens, entropy_bits
from .jackknife import delete_a_group


def quantised_entropy_bits(
    values: Tensor, step: float | Tensor, *, groups: int = 10
) -> tuple[float | None, float | None, float | None]:
    """Bits per sample of `[N, C, *grid]` rounded to multiples of `step` (one, or one per channel `[C]`).

    The value, its standard error and the half-width of its 95 % interval, by leaving out groups of samples; the step is
    taken as fixed. Order-0 entropy of each channel over all samples and positions (see `entropy_bits`), times
    positions, summed over channels. Fine steps give h(X) - log2 step (differential entropy). All are None where a
    channel has fewer than 5 values per bin that occurs. Raises UserError for a step that is not positive or values that
    are not finite.
    """
    steps = torch.as_tensor(step, dtype=torch.float64, device=values.device).expand(values.shape[1])
    if not bool((steps > 0).all()) or not bool(torch.isfinite(values).all()):
        raise UserError("quantised entropy needs a positive step and finite values")
    n, positions = len(values), math.prod(values.shape[2:])
    groups = min(groups, n // 2)
    group = (torch.arange(n, device=values.device) % max(groups, 1)).repeat_interleave(positions)
    bits = 0.0
    left_out = [0.0] * groups
    for channel, width in zip(values.transpose(0, 1).flatten(1), steps, strict=True):
        occurring, bins = torch.unique(torch.round(channel.double() / width), return_inverse=True)
        counts = torch.bincount(bins, minlength=len(occurring))
        if not enough_tokens(counts):
            return None, None, None
        bits += positions * entropy_bits(counts)
        for g in range(groups):
            rest = counts - torch.bincount(bins[group == g], minlength=len(occurring))
            left_out[g] += positions * entropy_bits(rest[rest > 0])
    return bits, *delete_a_group(left_out)


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
