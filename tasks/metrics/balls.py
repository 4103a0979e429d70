"""Sets of features as the union of balls around their points, each as wide as to the k-th nearest other point.

Shape legend: N samples and M of another set, D feature length. Distances are squared, Euclidean and float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...results.errors import UserError

K = 3  # precision and recall (Kynkäänniemi et al. 2019, section 3)
DENSITY_K = 5  # density and coverage (Naeem et al. 2020, section 4.1)
MOST = 10_000  # points a side: distances cost the square of it
_BLOCK_BYTES = 32 << 20
_TIE = 1e-12  # of the largest squared norm: distances of equal points are no further from 0 than this


def evenly(n: int, size: int) -> Tensor:
    """`size` of the indices 0..n-1 (all n where they are fewer), evenly spread, so that a set in class order keeps its
    classes."""
    size = min(size, n)
    return torch.arange(size) * n // max(size, 1)


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
        points = _centred(features, features.mean(0, dtype=torch.float64))
        return cls(features=features, radii=radii_of(points, (K, DENSITY_K)))


class Side(NamedTuple):
    """One side's points in float64 `[N, D]` and their squared norms `[N]`."""

    points: Tensor
    norms: Tensor

    def __len__(self) -> int:
        return len(self.points)


def _centred(features: Tensor, origin: Tensor) -> Side:
    """Relative to `origin` `[D]`, since what is common to all points would cost digits."""
    points = features.double().sub(origin)
    norms = torch.einsum("nd,nd->n", points, points)
    if not bool(torch.isfinite(norms).all()):
        raise UserError("features hold values that are not finite")
    return Side(points, norms)


def both_sides(x: Tensor, y: Tensor, k: int) -> tuple[Side, Side]:
    """Both sides, relative to the mean of `y`, the reference."""
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise UserError(f"features must be [N, D] and [M, D], got {list(x.shape)} and {list(y.shape)}")
    if min(len(x), len(y)) <= k:
        raise UserError(f"{k} nearest neighbours need at least {k + 1} samples a side, got {len(x)} and {len(y)}")
    y = y.to(x.device)
    origin = y.mean(0, dtype=torch.float64)
    return _centred(x, origin), _centred(y, origin)


def radii_of(x: Side, ks: tuple[int, ...]) -> Tensor:
    """Squared distance of each point to its k-th nearest other, for each k: `[len(ks), N]`."""
    rows = []
    for _, squared in blocks(x, x):
        nearest = squared.topk(max(ks), dim=1, largest=False).values
        rows.append(nearest[:, [k - 1 for k in ks]])
    return torch.cat(rows).t().contiguous()


def blocks(x: Side, y: Side) -> Iterator[tuple[slice, Tensor]]:
    """Squared distances of `[N, D]` to `[M, D]`, some rows at a time; of a point to itself infinity."""
    size = max(1, _BLOCK_BYTES // (8 * len(y)))
    for start in range(0, len(x), size):
        rows = slice(start, min(start + size, len(x)))
        squared = torch.addmm(y.norms, x.points[rows], y.points.t(), alpha=-2).add_(x.norms[rows, None])
        if x is y:
            squared.diagonal(offset=start).fill_(torch.inf)
        yield rows, squared


def slack_of(x: Side, y: Side) -> float:
    """How much further than its radius a ball still holds a point: what rounding may have added to a distance."""
    return _TIE * float(torch.maximum(x.norms.max(), y.norms.max()))
