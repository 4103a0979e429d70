"""What the causal neighbours of a position tell of it, by a linear fit: usable information of the Gaussian family.

Shape legend: N samples, C channels, *grid the axes of a latent.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from ...results.metric import Metric
from ..metrics.jackknife import delete_a_group, group_of
from .interface import NORMALISED, Proxy, ProxyInput, Value, metric

_GROUPS = 5
_RIDGE = 1e-3  # of the neighbours' variance, 1: for neighbours that repeat each other
_LARGEST = 2048  # neighbours times channels: the fit costs its cube
_ROWS = 1 << 17


def causal_offsets(grid: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The neighbours, diagonal ones included, that come before a position in raster order; axes of length 1 have
    none."""
    steps = [(-1, 0, 1) if length > 1 else (0,) for length in grid]
    return [offset for offset in product(*steps) if offset < (0,) * len(grid)]


def neighbourhoods(z: Tensor) -> Tensor:
    """`[N, C, *grid]` to each position's own values and those of its causal neighbours, zeros beyond the border, in
    rows `[N, P, C (1 + neighbours)]`."""
    parts = [z]
    for offset in causal_offsets(tuple(z.shape[2:])):
        moved = torch.zeros_like(z)
        to: list[slice] = [slice(None)] * 2
        source = list(to)
        for by in offset:
            to.append(slice(-by, None) if by < 0 else slice(0, -by or None))
            source.append(slice(0, by or None) if by < 0 else slice(by, None))
        moved[tuple(to)] = z[tuple(source)]
        parts.append(moved)
    return torch.cat(parts, dim=1).flatten(2).transpose(1, 2)


def moments(z: Tensor) -> Tensor:
    """Σ (1, own, neighbours)(1, own, neighbours)ᵀ over samples and positions, float64."""
    width = 1 + z.shape[1] * (1 + len(causal_offsets(tuple(z.shape[2:]))))
    total = torch.zeros(width, width, dtype=torch.float64)
    for part in z.split(max(1, _ROWS // max(1, z[0, 0].numel()))):
        rows = neighbourhoods(part).flatten(0, 1)
        rows = torch.cat([torch.ones_like(rows[:, :1]), rows], dim=1)
        total += (rows.t() @ rows).double().cpu()
    return total


def information_bits(fitted: Tensor, held_out: Tensor, channels: int) -> float:
    """Mean over channels of ½ log2 1/(1 - R²), with a ridge regression of the own values on the neighbours' from one
    set's moments, and R² of it on another's; 0 where it predicts no better than the mean."""
    count = float(fitted[0, 0])
    known = [0, *range(1 + channels, len(fitted))]
    own = list(range(1, 1 + channels))
    penalty = torch.full((len(known),), _RIDGE * count, dtype=torch.float64)
    penalty[0] = 0  # the intercept
    gram = fitted[known][:, known] + penalty.diag()
    weights = torch.linalg.solve(gram, fitted[known][:, own])
    n = float(held_out[0, 0])
    cross, square = held_out[known][:, own], held_out[own][:, own].diagonal()
    error = square - 2 * (weights * cross).sum(0) + (weights * (held_out[known][:, known] @ weights)).sum(0)
    spread = square - held_out[0, own].square() / n
    ratio = (error / spread).clamp(1e-12, 1)
    return float((-0.5 * ratio.log2()).mean())


class Predictability(Proxy):
    """See `PredictabilityConfig`."""

    def metrics(self, latents: ProxyInput) -> tuple[Metric, ...]:
        z = latents.normalised
        value: Value = None
        channels = z.shape[1]
        offsets = len(causal_offsets(tuple(z.shape[2:])))
        if z.numel() and len(z) >= 2 * _GROUPS and 0 < channels * offsets <= _LARGEST:
            by_group = torch.stack([moments(z[part]) for part in group_of(len(z), _GROUPS)])
            total = by_group.sum(0)
            folds = [information_bits(total - part, part, channels) for part in by_group]
            se, half = delete_a_group([(sum(folds) - fold) / (_GROUPS - 1) for fold in folds])
            value = (sum(folds) / _GROUPS, se, half)
        protocol = (
            "mean over channels of ½ log2 1/(1 - R²), ridge regression on causal neighbours in raster order, "
            f"R² held out ({_GROUPS} folds); {NORMALISED}"
        )
        return (metric("causal_information", value, latents, direction="higher", unit="bit", protocol=protocol),)
