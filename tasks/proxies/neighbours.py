"""How much neighbouring positions of a latent have in common.

Shape legend: N samples, C channels, *grid the axes of a latent.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from ...results.metric import Metric
from ..metrics.jackknife import of_sums
from .interface import NORMALISED, Proxy, ProxyInput, metric, sums_by_group


def neighbour_offsets(grid: tuple[int, ...]) -> dict[tuple[int, ...], int]:
    """The displacements between two positions of a 2x...x2 block (axes of length 1 are not crossed), one of each pair
    of opposite ones, with the number of pairs in the block that have it."""
    corners = list(product(*[(0, 1) if length > 1 else (0,) for length in grid]))
    counts: dict[tuple[int, ...], int] = {}
    for index, first in enumerate(corners):
        for second in corners[index + 1 :]:
            offset = tuple(b - a for a, b in zip(first, second, strict=True))
            counts[offset] = counts.get(offset, 0) + 1
    return counts


def neighbour_sums(z: Tensor) -> Tensor:
    """Each sample's Σ z(p)z(q), Σ z(p)² and Σ z(q)² over the pairs of each offset: `[N, C, offsets, 3]`.

    z has mean 0 per channel.
    """
    sums = []
    for offset in neighbour_offsets(tuple(z.shape[2:])):
        first, second = z, z
        for axis, by in enumerate(offset, start=2):
            if by:
                length = z.shape[axis] - 1
                first = first.narrow(axis, 0 if by > 0 else 1, length)
                second = second.narrow(axis, 1 if by > 0 else 0, length)
        pairs = ((first * second), first.square(), second.square())
        sums.append(torch.stack([pair.flatten(2).sum(-1) for pair in pairs], -1))
    return torch.stack(sums, 2)


def local_correlation(z: Tensor) -> float:
    """Mean correlation of the pairs of positions within 2x...x2 blocks, per channel and offset, averaged over channels
    and pairs: `[N, C, *grid]` with mean 0 per channel to a number in [-1, 1]. Raises ValueError for one position."""
    weights = _weights(z)
    return _mean(neighbour_sums(z).double().sum(0), weights)


class LocalCorrelation(Proxy):
    """See `LocalCorrelationConfig`."""

    def metrics(self, latents: ProxyInput) -> tuple[Metric, ...]:
        z = latents.normalised
        value = None
        if z.numel() and any(length > 1 for length in z.shape[2:]):
            weights = _weights(z)
            value = of_sums(sums_by_group(neighbour_sums(z)), lambda sums: _mean(sums, weights))
        protocol = f"mean correlation of pairs within 2x..x2 blocks, over channels; {NORMALISED}"
        return (metric("local_correlation", value, latents, direction="higher", protocol=protocol),)


def _weights(z: Tensor) -> Tensor:
    counts = neighbour_offsets(tuple(z.shape[2:])).values()
    if not counts:
        raise ValueError("local correlation needs a grid of two positions or more")
    weights = torch.tensor(list(counts), dtype=torch.float64)
    return weights / weights.sum()


def _mean(sums: Tensor, weights: Tensor) -> float:
    product_, first, second = sums.unbind(-1)
    correlation = product_ / (first * second).sqrt()
    return float((correlation @ weights.to(correlation)).mean())
