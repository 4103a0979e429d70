"""Scale, outliers, skewness and tails of latents. Shape legend: N samples, C channels, P positions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...results.metric import Direction, Metric
from ..metrics.jackknife import delete_a_group, of_sums
from .interface import NORMALISED, Proxy, ProxyInput, Value, metric, sums_by_group


def power_sums(z: Tensor) -> Tensor:
    """`[N, C, *grid]` to each sample's Σ1, Σz, Σz², Σz³, Σz⁴ over positions: `[N, C, 5]` float64."""
    flat = z.flatten(2)
    square = flat * flat
    sums = [torch.full_like(flat[..., 0], flat.shape[2]), flat.sum(-1), square.sum(-1)]
    sums += [(square * flat).sum(-1), (square * square).sum(-1)]
    return torch.stack([s.double() for s in sums], -1)


def central_moments(sums_C5: Tensor) -> Tensor:
    """Power sums `[C, 5]` to the variance, m3 and m4 about the mean, per channel: `[C, 3]`."""
    mean, second, third, fourth = (sums_C5[:, 1:] / sums_C5[:, :1]).unbind(-1)
    variance = second - mean**2
    m3 = third - 3 * mean * second + 2 * mean**3
    m4 = fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4
    return torch.stack([variance, m3, m4], -1)


class Moments(Proxy):
    """See `MomentsConfig`."""

    def metrics(self, latents: ProxyInput) -> tuple[Metric, ...]:
        raw, z = latents.raw, latents.normalised
        scale: Value = None
        largest: Value = None
        skew: Value = None
        tails: Value = None
        if len(raw):
            # The scale may be anything: with the training split's mean as origin its square keeps its digits.
            shifted = raw - latents.mean.to(raw).view(-1, *[1] * (raw.ndim - 2))
            scale = of_sums(sums_by_group(power_sums(shifted)), _scale)
        if z.numel():
            largest = float(z.abs().amax())
            sums = sums_by_group(power_sums(z))
            skew, tails = _skewness(sums), of_sums(sums, _mean_kurtosis)
        constant = float((~latents.varying).sum())
        unscaled = "root mean over channels of the raw latents' variance; reported, not modelled"
        rows: tuple[tuple[str, Value, Direction, str], ...] = (
            ("latent_std", scale, "none", unscaled),
            ("latent_outlier", largest, "lower", f"max |z|; {NORMALISED}"),
            ("latent_skewness", skew, "lower", f"mean over channels of |m3 / σ³|, less its scatter; {NORMALISED}"),
            ("latent_kurtosis", tails, "none", f"mean over channels of m4 / σ⁴ - 3, a Gaussian's is 0; {NORMALISED}"),
            ("constant_channels", constant, "lower", "channels that do not vary over the training split"),
        )
        return tuple(
            metric(name, value, latents, direction=direction, protocol=protocol, shown="asked")
            for name, value, direction, protocol in rows
        )


def _scale(sums_C5: Tensor) -> float:
    return math.sqrt(max(0.0, float(central_moments(sums_C5)[:, 0].mean())))


def _skewness(sums_GC5: Tensor) -> Value:
    """Mean over channels of |m3 / σ³|, less what scatter adds to a magnitude.

    The square of a channel's estimate exceeds that of the truth by the estimate's variance on average: by that much it
    is lowered, not below 0. The interval is that of the mean of the signed estimates, each turned by its sign.
    """
    total = sums_GC5.sum(0)
    whole = _channel_skewness(total)
    if len(sums_GC5) < 2:
        return float(whole.abs().mean())
    left_out = torch.stack([_channel_skewness(total - part) for part in sums_GC5])
    groups = len(left_out)
    variance = (groups - 1) / groups * (left_out - left_out.mean(0)).square().sum(0)
    value = float((whole.square() - variance).clamp_min(0).sqrt().mean())
    return value, *delete_a_group((left_out * whole.sign()).mean(1).tolist())


def _channel_skewness(sums_C5: Tensor) -> Tensor:
    variance, m3, _ = central_moments(sums_C5).unbind(-1)
    return m3 / variance**1.5


def _mean_kurtosis(sums_C5: Tensor) -> float:
    variance, _, m4 = central_moments(sums_C5).unbind(-1)
    return float((m4 / variance**2 - 3).mean())
