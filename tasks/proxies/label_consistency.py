"""Whether the nearest neighbours of a latent are of its class. Shape legend: N samples, C channels."""

from __future__ import annotations

import torch
from torch import Tensor

from ...results.metric import Metric
from ..metrics.balls import evenly
from .interface import NORMALISED, Proxy, ProxyInput, Value, metric

NEIGHBOURS = 10
SAMPLES = 4096


def same_class_shares(x: Tensor, labels: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """For every row of `[N, D]` the share of its k nearest others that have its label: `[N]` float64."""
    rows = []
    for start in range(0, len(x), 512):
        apart = torch.cdist(x[start : start + 512], x)
        apart[torch.arange(len(apart)), torch.arange(start, start + len(apart))] = float("inf")
        near = labels[apart.topk(k, largest=False).indices]
        rows.append((near == labels[start : start + 512, None]).double().mean(1))
    return torch.cat(rows)


class LabelConsistency(Proxy):
    """See `LabelConsistencyConfig`."""

    def metrics(self, latents: ProxyInput) -> tuple[Metric, ...]:
        if latents.labels is None:
            return ()
        z = latents.normalised
        value: Value = None
        labels = latents.labels[latents.finite.to(latents.labels.device)]
        if z.numel() and len(z) > NEIGHBOURS:
            rows = evenly(len(z), SAMPLES)
            shares = same_class_shares(z[rows].flatten(2).mean(2), labels[rows])
            se = float(shares.std()) / len(shares) ** 0.5
            value = (float(shares.mean()), se, 1.96 * se)
        name = f"label_consistency_{NEIGHBOURS}"
        protocol = f"same-class share of the {NEIGHBOURS} nearest of up to {SAMPLES}, mean over positions; {NORMALISED}"
        return (metric(name, value, latents, direction="higher", protocol=protocol),)
