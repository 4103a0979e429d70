"""How much more alike near positions of a latent are than far ones.

Shape legend: N samples, C channels, P positions, *grid the axes of a latent.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...results.metric import Metric
from ..metrics.balls import evenly
from ..metrics.jackknife import of_sums
from .interface import NORMALISED, Proxy, ProxyInput, metric, sums_by_group

# Pairs of positions times channels in all: beyond, fewer samples are read.
_MOST = 1 << 31


def distances(grid: tuple[int, ...]) -> Tensor:
    """Manhattan distances between all positions of a grid, in raster order: `[P, P]` int64."""
    places = torch.cartesian_prod(*[torch.arange(length) for length in grid]).view(-1, len(grid))
    return (places[:, None] - places[None]).abs().sum(-1)


def similarity_sums(z: Tensor) -> Tensor:
    """Each sample's mean cosine of position vectors at Manhattan distance 1, and at half of the largest distance or
    more: `[N, C, *grid]` to `[N, 2]` float64."""
    apart = distances(tuple(z.shape[2:]))
    near = (apart == 1).double()
    far = (2 * apart >= apart.max()).double() * (apart > 1)
    weights = torch.stack([near / near.sum(), far / far.sum()]).flatten(1).float()
    rows = []
    for part in z.split(max(1, (1 << 24) // len(apart) ** 2)):
        unit = nn.functional.normalize(part.flatten(2), dim=1)
        rows.append((unit.transpose(1, 2) @ unit).flatten(1) @ weights.t().to(unit))
    return torch.cat(rows).double()


def samples_of(z: Tensor) -> Tensor:
    """The rows of `[N, C, *grid]` that are read: evenly spread ones where all pairs of positions are too many."""
    return evenly(len(z), max(20, _MOST // (z[0, 0].numel() ** 2 * z.shape[1])))


class SelfSimilarity(Proxy):
    """See `SelfSimilarityConfig`."""

    def metrics(self, latents: ProxyInput) -> tuple[Metric, ...]:
        z = latents.normalised
        value = None
        if z.numel() and sum(z.shape[2:]) - len(z.shape[2:]) >= 2:  # else no two positions are further than 1 apart
            sums = similarity_sums(z[samples_of(z)])
            counted = torch.cat([torch.ones_like(sums[:, :1]), sums], dim=1)
            value = of_sums(sums_by_group(counted), lambda total: float((total[1] - total[2]) / total[0]))
        protocol = f"mean cosine of positions 1 apart less that of half the grid apart or more; {NORMALISED}"
        return (metric("self_similarity", value, latents, direction="higher", protocol=protocol),)
