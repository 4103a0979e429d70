"""How much of the data samples reach, and how much of the samples the data reach, from nearest neighbours of features.

Each set stands for the union of balls around its points, as wide as to the k-th nearest other point of the set.

    precision  share of samples inside the data's balls                  Kynkäänniemi et al. 2019, eq. 1 and 2
    recall     share of the data inside the samples' balls               the same with the sets exchanged
    density    how many of the data's balls a sample lies in, over k     Naeem et al. 2020, eq. 3
    coverage   share of the data's balls that hold a sample              Naeem et al. 2020, eq. 4

Shape legend: N samples and as many of the reference, D feature length, G groups left out in turn. Distances are
squared, Euclidean and float64.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ...results.metric import Metric
from .balls import (
    DENSITY_K,
    MOST,
    K,
    Manifold,
    Side,
    blocks,
    both_sides,
    evenly,
    manifold_part,
    radii_of,
    slack_of,
)
from .interface import SampleSet, Score
from .jackknife import delete_a_group, group_of, wilson

_NAEEM, _KYNKAANNIEMI = "Naeem et al. 2020", "Kynkäänniemi et al. 2019"
_Estimate = tuple[float | None, float | None, tuple[float, float] | None]  # value, standard error, interval


class ManifoldScore(Score):
    """See `ManifoldConfig`."""

    def measure(self, samples: SampleSet) -> tuple[list[Metric], dict[str, Any]]:
        reference = samples.reference
        data = reference.manifold if reference.manifold is not None else reference.features
        return manifold_metrics(samples.net.name, samples.features, data, protocol=samples.protocol), {}


def manifold_metrics(
    net: str, features: Tensor, reference: Manifold | Tensor, *, protocol: str, groups: int = 10
) -> list[Metric]:
    """`precision_<net>`, `recall_<net>`, `density_<net>` and `coverage_<net>` of samples `[N, D]`.

    All four depend on the size of both sides, so both are cut to the smaller one, and to 10,000: the reference evenly,
    the samples at the end. Radii that were computed before are used when the reference stays whole. The reference is
    held fixed in the intervals: Wilson's for precision, the normal one for density, and for recall and coverage, to
    which samples contribute together, a delete-a-group jackknife over them. Samples whose features are not finite are
    left out and counted. Values are None for fewer than 6 on either side.
    """
    finite = features[torch.isfinite(features).all(1)]
    known = reference.features if isinstance(reference, Manifold) else manifold_part(reference)
    n = min(len(finite), len(known))
    estimates: dict[str, _Estimate] = {}
    if n > DENSITY_K:
        if not isinstance(reference, Manifold) or n < len(known):
            reference = Manifold.of(known[evenly(len(known), n).to(known.device)])
        estimates = _estimates(finite[:n], reference, groups if n >= 2 * groups else 0)
    sides = f"n = {n} against {n} (both cut to the smaller, at most {MOST:,}); Euclidean, float64"
    facts = {
        "precision": (_KYNKAANNIEMI, K),
        "recall": (_KYNKAANNIEMI, K),
        "density": (_NAEEM, DENSITY_K),
        "coverage": (_NAEEM, DENSITY_K),
    }
    metrics = []
    for name, (paper, k) in facts.items():
        value, se, interval = estimates.get(name, (None, None, None))
        line = f"{protocol}; {paper}, k = {k}; {sides}".removeprefix("; ")
        metrics.append(
            Metric(
                name=f"{name}_{net}",
                value=value,
                se=se,
                interval=interval,
                n=n,
                missing=len(features) - len(finite),
                direction="higher",
                protocol=line,
                role="distribution",
            )
        )
    return metrics


def _estimates(features: Tensor, reference: Manifold, groups: int) -> dict[str, _Estimate]:
    """Value, standard error and 95 % interval of each score, in one pass over the distances."""
    x, y = both_sides(features, reference.features, DENSITY_K)
    radii_y = reference.radii.to(x.norms.device)
    slack = slack_of(x, y)
    parts = group_of(len(x), groups) if groups else []
    radii_x = _radii_without(x, parts)  # [1 + G, N]: of all, and without each group
    real = torch.zeros(len(x), dtype=torch.bool, device=x.norms.device)
    inside = torch.zeros(len(x), dtype=torch.float64, device=x.norms.device)
    reached = torch.zeros(1 + len(parts), dtype=torch.float64, device=x.norms.device)
    covered = torch.zeros_like(reached)
    for rows, squared in blocks(y, x):
        real |= (squared <= (radii_y[0, rows] + slack)[:, None]).any(0)
        hits = squared <= (radii_y[1, rows] + slack)[:, None]
        inside += hits.sum(0)
        counts = hits.sum(1)
        covered[0] += (counts > 0).sum()
        for i, part in enumerate(parts, start=1):
            covered[i] += (counts > hits[:, part].sum(1)).sum()
        for i, radii in enumerate(radii_x):
            reached[i] += (squared <= radii + slack).any(1).sum()
    precision, n = float(real.double().mean()), len(x)
    density = Metric.from_samples("", (inside / DENSITY_K).tolist(), direction="higher")
    assert density.value is not None
    return {
        "precision": (precision, math.sqrt(precision * (1 - precision) / n), wilson(precision, n)),
        "recall": _jackknifed((reached / len(y)).tolist(), n),
        "density": (density.value, density.se, density.interval),
        "coverage": _jackknifed((covered / len(y)).tolist(), n),
    }


def _jackknifed(shares: list[float], n: int) -> _Estimate:
    """A share of all and without each group, to value, error and interval; Wilson's where leaving groups out changes
    nothing, as at 0 and 1: no scatter seen is not no scatter."""
    value, *left_out = shares
    se, half = delete_a_group(left_out)
    if half is None:
        return value, None, None
    if half == 0:
        return value, se, wilson(value, n)
    return value, se, (max(0.0, value - half), min(1.0, value + half))


def _radii_without(x: Side, parts: list[slice]) -> Tensor:
    """`radii_of` for k = 3 of all points, and with each part left out in turn: `[1 + G, N]`. The left out have balls
    that nothing lies in."""
    if not parts:
        return radii_of(x, (K,))
    rows = []
    for _, squared in blocks(x, x):
        # the K nearest of every part hold the K nearest of all, whichever part is left out
        columns = (squared[:, part] for part in parts)
        nearest = [c.topk(min(K, c.shape[1]), dim=1, largest=False).values for c in columns]
        choices = [nearest, *([n for j, n in enumerate(nearest) if j != i] for i in range(len(parts)))]
        rows.append(torch.stack([torch.cat(c, 1).topk(K, dim=1, largest=False).values[:, -1] for c in choices]))
    radii = torch.cat(rows, 1)
    for i, part in enumerate(parts, start=1):
        radii[i, part] = -torch.inf
    return radii
