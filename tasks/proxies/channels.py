"""How channels depend on each other: correlation, effective rank, condition. Shape legend: N samples, C channels."""

from __future__ import annotations

import torch
from torch import Tensor

from ...results.metric import Metric
from ..metrics.jackknife import group_of, of_sums
from .interface import NORMALISED, Proxy, ProxyInput, metric

# Eigenvalues below this share of the largest are rounding errors of float32 latents.
_ZERO = 1e-10


def channel_sums(z: Tensor, groups: int = 10) -> Tensor:
    """Σ (1, z)(1, z)ᵀ over the samples and positions of each of G groups: `[N, C, *grid]` to `[G, 1 + C, 1 + C]`."""
    sums = []
    for part in group_of(len(z), groups):
        x_C = z[part].transpose(0, 1).flatten(1).double()
        x_1C = torch.cat([torch.ones_like(x_C[:1]), x_C])
        sums.append(x_1C @ x_1C.t())
    return torch.stack(sums)


def covariance(sums_1C: Tensor) -> Tensor:
    """Such a sum to the covariance of the channels `[C, C]` (population)."""
    moments = sums_1C / sums_1C[0, 0]
    mean = moments[0, 1:]
    return moments[1:, 1:] - torch.outer(mean, mean)


def mean_correlation(cov_CC: Tensor) -> float:
    """Mean |ρij| over pairs of different channels; NaN for fewer than two channels."""
    channels = len(cov_CC)
    if channels < 2:
        return float("nan")
    scale = cov_CC.diagonal().sqrt()
    correlation = (cov_CC / torch.outer(scale, scale)).abs()
    return float((correlation.sum() - correlation.diagonal().sum()) / (channels * (channels - 1)))


def effective_rank(cov_CC: Tensor) -> float:
    """(Σλ)² / Σλ² of a covariance (the participation ratio): C when white, 1 when all channels are one."""
    return float(cov_CC.trace() ** 2 / cov_CC.square().sum())


def condition_number(cov_CC: Tensor) -> float:
    """λmax / λmin of a covariance; infinite when it is singular."""
    values = torch.linalg.eigvalsh(cov_CC)
    return float("inf") if values[0] <= _ZERO * values[-1] else float(values[-1] / values[0])


class ChannelCorrelation(Proxy):
    """See `ChannelCorrelationConfig`."""

    def metrics(self, latents: ProxyInput) -> tuple[Metric, ...]:
        z = latents.normalised
        value = None
        if z.shape[1] >= 2 and z.numel() >= 2 * z.shape[1]:
            value = of_sums(channel_sums(z), lambda sums: mean_correlation(covariance(sums)))
        protocol = f"mean |ρ| over pairs of channels, over samples and positions; {NORMALISED}"
        return (metric("channel_correlation", value, latents, direction="none", protocol=protocol, shown="asked"),)


class EffectiveRank(Proxy):
    """See `EffectiveRankConfig`."""

    def metrics(self, latents: ProxyInput) -> tuple[Metric, ...]:
        z = latents.normalised
        rank = condition = None
        if z.shape[1] >= 1 and z.numel() >= 2 * z.shape[1]:
            sums = channel_sums(z)
            rank = of_sums(sums, lambda total: effective_rank(covariance(total)))
            condition = of_sums(sums, lambda total: condition_number(covariance(total)))
        of = f"of the channels' covariance over samples and positions; {NORMALISED}"
        return (
            metric("effective_rank", rank, latents, direction="none", protocol=f"(Σλ)² / Σλ² {of}"),
            metric(
                "condition_number",
                condition,
                latents,
                direction="none",
                protocol=f"λmax / λmin {of}; missing when singular",
                shown="asked",
            ),
        )
