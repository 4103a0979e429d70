"""The Fréchet distance of infinitely many samples, from its fall with N (Chong & Forsyth 2020, arXiv 1911.07023).

The distance's bias is a/N to first order, with an `a` that depends on the model, so that at equal N the order of two
models can be wrong. A line through the distances of several N, over 1/N, meets the true one at 0.
"""

from __future__ import annotations

import math
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from ...results.metric import Metric
from .config import samples_to_extrapolate
from .frechet import FrechetReference, frechet_distance
from .interface import SampleSet, Score
from .jackknife import delete_a_group, distance_metric, group_of

_PARTS = (1, 2, 3, 4)


class FdInfinity(Score):
    """See `FdInfinityConfig`."""

    def measure(self, samples: SampleSet) -> tuple[list[Metric], dict[str, Any]]:
        name = "fid_infinity" if samples.net.name == "inception" else f"fd_infinity_{samples.net.name}"
        return [infinity_metric(name, samples.features, samples.reference.frechet, protocol=samples.protocol)], {}


def frechet_infinity(features: Tensor, reference: FrechetReference) -> float:
    """The intercept of a least-squares line over 1/N through the distances at N, N/2, N/3 and N/4.

    Each is the mean over the parts that `features` `[N, D]` fall into, so that all samples count at every size.
    Slightly negative values are legitimate. Raises UserError as `frechet_distance` does.
    """
    points = []
    for count in _PARTS:
        parts = [features[part] for part in group_of(len(features), count)]
        inverse = fmean(1 / len(part) for part in parts)
        points.append((inverse, fmean(frechet_distance(part, reference) for part in parts)))
    return _intercept(points)


def infinity_metric(
    name: str, features: Tensor, reference: FrechetReference, *, protocol: str, groups: int = 10
) -> Metric:
    """`frechet_infinity` as a metric, called `name`.

    Standard error and 95 % interval by a delete-a-group jackknife over the samples, the reference held fixed (its own N
    still biases it); at most 5 groups for more than 512 dimensions. The value is None below 16 samples a dimension.
    Samples whose features are not finite are left out and counted.
    """
    finite = features[torch.isfinite(features).all(1)]
    n, least = len(finite), samples_to_extrapolate(features.shape[1])
    value = se = half = None
    line = f"{protocol}; Fréchet distance at n, n/2, n/3 and n/4, extrapolated to 1/n = 0; "
    line += f"n = {n} against {reference.n}; unbiased covariances, float64"
    if n < least:
        line += f"; needs {least} samples"
    else:
        value = frechet_infinity(finite, reference)
        groups = min(groups, 5) if features.shape[1] > 512 else groups
        left_out = []
        for part in group_of(n, groups):
            rest = torch.ones(n, dtype=torch.bool, device=finite.device)
            rest[part] = False
            left_out.append(frechet_infinity(finite[rest], reference))
        se, half = delete_a_group(left_out)
    missing = len(features) - n
    return distance_metric(name, value, se, half, n=n, missing=missing, protocol=line, role="generation")


def _intercept(points: list[tuple[float, float]]) -> float:
    x, y = [p[0] for p in points], [p[1] for p in points]
    x_mean, y_mean = fmean(x), fmean(y)
    slope = math.fsum((a - x_mean) * (b - y_mean) for a, b in points) / math.fsum((a - x_mean) ** 2 for a in x)
    return y_mean - slope * x_mean
