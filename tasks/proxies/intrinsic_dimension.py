"""The dimension of the set that latents lie on, from distances to the two nearest neighbours.

Shape legend: N samples, D dimensions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...results.metric import Metric
from ..metrics.balls import evenly
from .interface import NORMALISED, Proxy, ProxyInput, Value, metric

SAMPLES = 2048
_LEAST = 20


def two_nearest(x: Tensor) -> Tensor:
    """Distances of every row of `[N, D]` to its nearest two others, `[N, 2]` ascending."""
    rows = []
    for start in range(0, len(x), 512):
        apart = torch.cdist(x[start : start + 512], x, compute_mode="donot_use_mm_for_euclid_dist")
        apart[torch.arange(len(apart)), torch.arange(start, start + len(apart))] = math.inf
        rows.append(apart.topk(2, largest=False).values)
    return torch.cat(rows)


def two_nn(nearest: Tensor) -> tuple[float, float]:
    """The dimension (n - 1) / Σ log(r2/r1) of nearest distances `[n, 2]` (Facco et al. 2017, arXiv 1803.06992, with the
    factor that makes the maximum of likelihood unbiased), and its standard error.

    r2/r1 is Pareto of exponent D where the density is constant over r2. Rows with r1 = 0 are repeats and left out.
    Points that are each other's neighbours share distances: the scatter of the value is up to √2 times that of
    independent ratios (simulated in 1 to 10 dimensions), and as much is reported.
    """
    r1, r2 = nearest[nearest[:, 0] > 0].double().unbind(1)
    total, n = float((r2 / r1).log().sum()), len(r1)
    if n < 3 or total <= 0:
        return float("nan"), float("nan")
    dimension = (n - 1) / total
    return dimension, dimension * math.sqrt(2 / (n - 2))


class IntrinsicDimension(Proxy):
    """See `IntrinsicDimensionConfig`."""

    def metrics(self, latents: ProxyInput) -> tuple[Metric, ...]:
        z = latents.normalised
        value: Value = None
        if z.numel() and len(z) >= _LEAST:
            dimension, se = two_nn(two_nearest(z[evenly(len(z), SAMPLES)].flatten(1)))
            value = (dimension, se, 1.96 * se) if math.isfinite(dimension) else None
        protocol = f"TwoNN, (n - 1) / Σ log(r2/r1), of up to {SAMPLES} samples' whole latents; {NORMALISED}"
        return (metric("intrinsic_dimension", value, latents, direction="lower", protocol=protocol),)
