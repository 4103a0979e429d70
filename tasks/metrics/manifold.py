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
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...results.errors import UserError
from ...results.metric import Direction, Metric
from .jackknife import delete_a_group, group_of

VERSION = 1
K = 3  # precision and recall (Kynkäänniemi et al. 2019, section 3)
DENSITY_K = 5  # density and coverage (Naeem et al. 2020, section 4.1)
MOST = 10_000  # points a side: distances cost the square of it
_BLOCK_BYTES = 32 << 20
_TIE = 1e-12  # of the largest squared norm: distances of equal points are no further from 0 than this
_NORMAL = 1.959963984540054


def evenly(n: int, size: int) -> Tensor:
    """`size` of the indices 0..n-1, evenly spread, so that a set in class order keeps its classes."""
    return torch.arange(size) * n // size


def manifold_part(features: Tensor) -> Tensor:
    """Those of `[N, D]` that samples are compared with however many samples there are: at most 10,000."""
    return features if len(features) <= MOST else features[evenly(len(features), MOST)]


@dataclass(frozen=True, kw_only=True)
class Manifold:
    """A set's features `[N, D]`, at most 10,000, and the radii of their balls: squared, `[2, N]`, for k = 3 and 5."""

    features: Tensor
    radii: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Manifold:
        """From features `[N, D]`. Raises UserError for fewer than 6 of them, or values that are not finite."""
        if len(features) <= DENSITY_K:
            raise UserError(f"a manifold needs at least {DENSITY_K + 1} samples, got {len(features)}")
        side = _side(features, features.mean(0, dtype=torch.float64))
        return cls(features=features, radii=_radii(side, (K, DENSITY_K)))


def precision_recall(features: Tensor, reference: Tensor, *, k: int = K) -> tuple[float, float]:
    """Improved precision and recall of samples `[N, D]` against `[M, D]`, whatever N and M.

    Raises UserError for k or fewer on either side, lengths that differ, or values that are not finite.
    """
    x, y = _sides(features, reference, k)
    radii_x, radii_y = _radii(x, (k,))[0], _radii(y, (k,))[0]
    slack = _slack(x, y)
    real = torch.zeros(len(x), dtype=torch.bool, device=x.norms.device)
    reached = []
    for rows, squared in _blocks(y, x):
        real |= (squared <= (radii_y[rows] + slack)[:, None]).any(0)
        reached.append((squared <= radii_x + slack).any(1))
    return float(real.double().mean()), float(torch.cat(reached).double().mean())


def density_coverage(features: Tensor, reference: Tensor, *, k: int = DENSITY_K) -> tuple[float, float]:
    """Density and coverage of samples `[N, D]` against `[M, D]`. Raises UserError as `precision_recall` does."""
    x, y = _sides(features, reference, k)
    radii, slack = _radii(y, (k,))[0], _slack(x, y)
    inside, covered = 0.0, 0
    for rows, squared in _blocks(y, x):
        hits = squared <= (radii[rows] + slack)[:, None]
        inside += float(hits.sum())
        covered += int(hits.any(1).sum())
    return inside / (k * len(x)), covered / len(y)


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
    kept = features[torch.isfinite(features).all(1)]
    known = reference.features if isinstance(reference, Manifold) else manifold_part(reference)
    missing = len(features) - len(kept)
    n = min(len(kept), len(known))
    found: dict[str, tuple[float, float | None, tuple[float, float] | None]] = {}
    if n > DENSITY_K:
        if not isinstance(reference, Manifold) or n < len(known):
            reference = Manifold.of(known[evenly(len(known), n).to(known.device)])
        found = _scores(kept[:n], reference, groups if n >= 2 * groups else 0)
    sides = f"n = {n} against {n} (both cut to the smaller, at most {MOST:,}); Euclidean, float64"
    facts: dict[str, tuple[str, int, Direction]] = {
        "precision": ("Kynkäänniemi et al. 2019", K, "higher"),
        "recall": ("Kynkäänniemi et al. 2019", K, "higher"),
        "density": ("Naeem et al. 2020", DENSITY_K, "higher"),
        "coverage": ("Naeem et al. 2020", DENSITY_K, "higher"),
    }
    metrics = []
    for name, (paper, k, direction) in facts.items():
        value, se, interval = found.get(name, (None, None, None))
        line = f"{protocol}; {paper}, k = {k}; {sides}".removeprefix("; ")
        metrics.append(
            Metric(
                name=f"{name}_{net}",
                value=value,
                se=se,
                interval=interval,
                n=n,
                missing=missing,
                direction=direction,
                protocol=line,
            )
        )
    return metrics


def _scores(
    features: Tensor, reference: Manifold, groups: int
) -> dict[str, tuple[float, float | None, tuple[float, float] | None]]:
    """Value, standard error and 95 % interval of each score, in one pass over the distances."""
    x, y = _sides(features, reference.features, DENSITY_K)
    radii_y = reference.radii.to(x.norms.device)
    slack = _slack(x, y)
    parts = group_of(len(x), groups) if groups else []
    radii_x = _radii_without(x, parts)  # [1 + G, N]: of all, and without each group
    real = torch.zeros(len(x), dtype=torch.bool, device=x.norms.device)
    inside = torch.zeros(len(x), dtype=torch.float64, device=x.norms.device)
    reached = torch.zeros(1 + len(parts), dtype=torch.float64, device=x.norms.device)
    covered = torch.zeros_like(reached)
    for rows, squared in _blocks(y, x):
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
        "precision": (precision, math.sqrt(precision * (1 - precision) / n), _wilson(precision, n)),
        "recall": _jackknifed((reached / len(y)).tolist(), n),
        "density": (density.value, density.se, density.interval),
        "coverage": _jackknifed((covered / len(y)).tolist(), n),
    }


def _jackknifed(shares: list[float], n: int) -> tuple[float, float | None, tuple[float, float] | None]:
    """A share of all and without each group, to value, error and interval; Wilson's where leaving groups out changes
    nothing, as at 0 and 1: no scatter seen is not no scatter."""
    value, *left_out = shares
    se, half = delete_a_group(left_out)
    if half is None:
        return value, None, None
    if half == 0:
        return value, se, _wilson(value, n)
    return value, se, (max(0.0, value - half), min(1.0, value + half))


def _wilson(share: float, n: int) -> tuple[float, float]:
    """The 95 % score interval of a binomial share (Wilson 1927)."""
    z2 = _NORMAL**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


class _Side(NamedTuple):
    """One side's points in float64 `[N, D]` and their squared norms `[N]`."""

    points: Tensor
    norms: Tensor

    def __len__(self) -> int:
        return len(self.points)


def _side(features: Tensor, origin: Tensor) -> _Side:
    """Relative to `origin` `[D]`, since what is common to all points would cost digits."""
    points = features.double().sub(origin)
    norms = torch.einsum("nd,nd->n", points, points)
    if not bool(torch.isfinite(norms).all()):
        raise UserError("features hold values that are not finite")
    return _Side(points, norms)


def _sides(x: Tensor, y: Tensor, k: int) -> tuple[_Side, _Side]:
    """Both sides, relative to the mean of `y`, the reference."""
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise UserError(f"features must be [N, D] and [M, D], got {list(x.shape)} and {list(y.shape)}")
    if min(len(x), len(y)) <= k:
        raise UserError(f"{k} nearest neighbours need at least {k + 1} samples a side, got {len(x)} and {len(y)}")
    y = y.to(x.device)
    origin = y.mean(0, dtype=torch.float64)
    return _side(x, origin), _side(y, origin)


def _radii(x: _Side, ks: tuple[int, ...]) -> Tensor:
    """Squared distance of each point to its k-th nearest other, for each k: `[len(ks), N]`."""
    found = []
    for _, squared in _blocks(x, x):
        nearest = squared.topk(max(ks), dim=1, largest=False).values
        found.append(nearest[:, [k - 1 for k in ks]])
    return torch.cat(found).t().contiguous()


def _radii_without(x: _Side, parts: list[slice]) -> Tensor:
    """`_radii` for k = 3 of all points, and with each part left out in turn: `[1 + G, N]`. The left out have balls
    that nothing lies in."""
    if not parts:
        return _radii(x, (K,))
    found = []
    for _, squared in _blocks(x, x):
        # the K nearest of every part hold the K nearest of all, whichever part is left out
        columns = (squared[:, part] for part in parts)
        nearest = [c.topk(min(K, c.shape[1]), dim=1, largest=False).values for c in columns]
        choices = [nearest, *([n for j, n in enumerate(nearest) if j != i] for i in range(len(parts)))]
        found.append(torch.stack([torch.cat(c, 1).topk(K, dim=1, largest=False).values[:, -1] for c in choices]))
    radii = torch.cat(found, 1)
    for i, part in enumerate(parts, start=1):
        radii[i, part] = -torch.inf
    return radii


def _blocks(x: _Side, y: _Side) -> Iterator[tuple[slice, Tensor]]:
    """Squared distances of `[N, D]` to `[M, D]`, some rows at a time; of a point to itself infinity."""
    size = max(1, _BLOCK_BYTES // (8 * len(y)))
    for start in range(0, len(x), size):
        rows = slice(start, min(start + size, len(x)))
        squared = torch.addmm(y.norms, x.points[rows], y.points.t(), alpha=-2).add_(x.norms[rows, None])
        if x is y:
            squared.diagonal(offset=start).fill_(torch.inf)
        yield rows, squared


def _slack(x: _Side, y: _Side) -> float:
    return _TIE * float(torch.maximum(x.norms.max(), y.norms.max()))
