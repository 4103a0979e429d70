"""How evenly latents fill the plane of their two largest principal components.

Shape legend: N samples, D dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...results.metric import Metric
from ..metrics.balls import evenly
from ..metrics.jackknife import delete_a_group, group_of
from .interface import NORMALISED, Proxy, ProxyInput, Value, metric

SAMPLES = 4096
_LEAST = 40


def plane(x: Tensor) -> Tensor | None:
    """`[N, D]` on its first two principal components, each of unit variance: `[N, 2]` float64; None where it varies in
    fewer directions."""
    centred = x.double() - x.double().mean(0)
    values, vectors = torch.linalg.eigh(centred.t() @ centred / len(x))
    if len(values) < 2 or values[-2] <= 1e-10 * values[-1]:
        return None
    return centred @ vectors[:, -2:] / values[-2:].sqrt()


def densities(points: Tensor) -> Tensor:
    """Kernel density at every row of `[N, 2]`, up to a factor, from the others: Gaussian kernels of Scott's width,
    N^(-1/6)."""
    width = len(points) ** (-1 / 6)
    rows = []
    for start in range(0, len(points), 512):
        squared = torch.cdist(points[start : start + 512], points).square()
        kernel = torch.exp(-squared / (2 * width**2))
        kernel[torch.arange(len(kernel)), torch.arange(start, start + len(kernel))] = 0
        rows.append(kernel.sum(1))
    return torch.cat(rows)


def variation(values: Tensor) -> float:
    """Deviation over mean: 0 for equal densities; √(1/3) for those of a normal plane seen without smoothing."""
    return float(values.std(correction=0) / values.mean())


def gini(values: Tensor) -> float:
    """Gini's coefficient, half the mean difference over the mean: 0 for equal values, towards 1 where few have all."""
    ordered = values.sort().values
    rank = torch.arange(1, len(values) + 1, dtype=torch.float64)
    return float(((2 * rank - len(values) - 1) * ordered).sum() / (len(values) * ordered.sum()))


class Uniformity(Proxy):
    """See `UniformityConfig`."""

    def metrics(self, latents: ProxyInput) -> tuple[Metric, ...]:
        z = latents.normalised
        values: list[Value] = [None, None]
        points = plane(z[evenly(len(z), SAMPLES)].flatten(2).mean(2)) if z.numel() and len(z) >= _LEAST else None
        if points is not None:
            density = densities(points)
            for place, statistic in enumerate((variation, gini)):
                left_out = []
                for part in group_of(len(density), 10):
                    rest = torch.ones(len(density), dtype=torch.bool)
                    rest[part] = False
                    left_out.append(statistic(density[rest]))
                values[place] = (statistic(density), *delete_a_group(left_out))
        of = "kernel densities on the two largest principal components of the mean over positions"
        return tuple(
            metric(name, value, latents, direction="lower", protocol=f"{what} of {of}; {NORMALISED}")
            for name, what, value in (
                ("density_variation", "deviation over mean", values[0]),
                ("density_gini", "Gini's coefficient", values[1]),
            )
        )
