"""How fast positions of a latent become unlike with their distance (CDS of Singh et al. 2025, arXiv:2512.10794).

Shape legend: N samples, C channels, P positions, K distances, *grid the axes of a latent.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...results.metric import Metric
from ..metrics.jackknife import of_sums
from .interface import NORMALISED, Proxy, ProxyInput, Value, metric, sums_by_group
from .self_similarity import distances, samples_of

_LEAST = 2


def cosines_by_distance(z: Tensor) -> Tensor:
    """Each sample's mean cosine of position vectors at Manhattan distance 1, 2, ... K, K half of the largest distance:
    `[N, C, *grid]` to `[N, K]` float64."""
    apart = distances(tuple(z.shape[2:]))
    rings = [(apart == step).double() for step in range(1, int(apart.max()) // 2 + 1)]
    weights = torch.stack([ring / ring.sum() for ring in rings]).flatten(1).float()
    rows = []
    for part in z.split(max(1, (1 << 24) // len(apart) ** 2)):
        unit = nn.functional.normalize(part.flatten(2), dim=1)
        rows.append((unit.transpose(1, 2) @ unit).flatten(1) @ weights.t().to(unit))
    return torch.cat(rows).double()


def decay(sums: Tensor) -> float:
    """Minus the least-squares slope of the mean cosine over the distance, from `[1 + K]`: a count and K sums."""
    means = sums[1:] / sums[0]
    steps = torch.arange(len(means), dtype=torch.float64) - (len(means) - 1) / 2
    return -float((means.double().cpu() * steps).sum() / steps.square().sum())


class CorrelationDecay(Proxy):
    """See `CorrelationDecayConfig`."""

    def metrics(self, latents: ProxyInput) -> tuple[Metric, ...]:
        z = latents.normalised
        value: Value = None
        if z.numel() and (sum(z.shape[2:]) - len(z.shape[2:])) // 2 >= _LEAST:
            cosines = cosines_by_distance(z[samples_of(z)])
            value = of_sums(sums_by_group(torch.cat([torch.ones_like(cosines[:, :1]), cosines], dim=1)), decay)
        protocol = (
            "minus the least-squares slope of the mean cosine of positions over their Manhattan distance, from 1 to "
            f"half of the largest; {NORMALISED}"
        )
        return (metric("correlation_decay", value, latents, direction="higher", protocol=protocol),)
