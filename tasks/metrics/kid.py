"""Kernel distance of features (KID, Bińkowski et al. 2018): unbiased squared MMD with a cubic polynomial kernel.

Shape legend: N, M samples of the two sides, D feature length, S subsets, m subset size.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ...results.errors import UserError
from ...results.metric import Metric
from .frechet import FrechetReference
from .jackknife import delete_a_group, distance_metric, group_of

# Samples a side up to which the three matrices of all samples are kept (512 MiB each).
_LARGEST_GRAM = 8192


def polynomial_kernel(x_ND: Tensor, y_MD: Tensor) -> Tensor:
    """(xᵀy / D + 1)³: `[N, D]` and `[M, D]` to `[N, M]`."""
    return torch.matmul(x_ND, y_MD.t()).div_(x_ND.shape[1]).add_(1).pow_(3)


def subset_indices(n: int, size: int, subsets: int, seed: int) -> Tensor:
    """`[S, m]` int64: each row `size` different samples of `n`, the same for equal arguments."""
    generator = np.random.default_rng(seed)
    return torch.from_numpy(np.stack([generator.choice(n, size, replace=False) for _ in range(subsets)]))


def mmd2(x_ND: Tensor, y_MD: Tensor, x_subsets: Tensor, y_subsets: Tensor) -> Tensor:
    """Unbiased MMD² of every pair of subsets, given as indices `[S, m]` each: `[S]` float64.

    Three Gram matrices are computed once, and a subset's sums are products with its 0/1 mask; where all samples'
    matrices would cost more than the subsets' own, those are computed instead.
    """
    subsets, size = x_subsets.shape
    n, m = len(x_ND), len(y_MD)
    x, y = x_ND.double(), y_MD.double()
    if n * n + n * m + m * m > 3 * subsets * size * size:
        pairs = zip(x_subsets.to(x.device), y_subsets.to(y.device), strict=True)
        return torch.stack([_mmd2_of_all(x[rows], y[columns]) for rows, columns in pairs])
    return _mmd2_of_masks(_grams(x, y), _masks(x_subsets, n), _masks(y_subsets, m))


def kid(
    features: Tensor, reference: Tensor, *, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Mean and standard deviation over subsets of the unbiased MMD² between `[N, D]` and `[M, D]`.

    The subset size shrinks to the smaller side. Slightly negative values are legitimate. Raises UserError when a side
    has fewer than two samples or the lengths differ.
    """
    size = _subset_size(features, reference, subset_size)
    drawn = (subset_indices(len(x), size, subsets, seed + i) for i, x in enumerate((features, reference)))
    values = mmd2(features, reference, *drawn)
    return float(values.mean()), float(values.std(correction=0))


def kid_metric(
    name: str,
    features: Tensor,
    reference: FrechetReference | Tensor,
    *,
    protocol: str,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
    groups: int = 10,
) -> Metric:
    """The kernel distance as a metric, called `name` (`rkd_<net>`, `gkd_<net>`; `kid` with Inception alone).

    The value is the mean over subsets. Its standard error is not their deviation, which shrinks and grows with the
    subset size: it comes from a delete-a-group jackknife over both sides of the same estimator on all samples, or,
    where that needs too large a matrix, from the subsets' variance scaled to all samples. Samples whose features are
    not finite are left out and counted. Raises UserError when the reference kept no features.
    """
    known = reference.features if isinstance(reference, FrechetReference) else reference
    if known is None:
        raise UserError(f"{name}: the reference was stored without its features, which a kernel distance needs")
    finite = features[torch.isfinite(features).all(1)]
    known = known.to(finite.device)
    missing = len(features) - len(finite)
    value = se = half = None
    size = min(subset_size, len(finite), len(known))
    line = f"{protocol}; n = {len(finite)} against {len(known)}; unbiased MMD², kernel (x·y/d + 1)³, mean over "
    line += f"{subsets} subsets of {size}"
    if size >= 2:
        if max(len(finite), len(known)) <= _LARGEST_GRAM:
            grams = _grams(finite.double(), known.double())
            drawn = (subset_indices(len(x), size, subsets, seed + i) for i, x in enumerate((finite, known)))
            masks = (_masks(rows, len(gram)) for rows, gram in zip(drawn, grams[::2], strict=True))
            value = float(_mmd2_of_masks(grams, *masks).mean())
            se, half = _jackknife(grams, groups)
        else:
            value, deviation = kid(finite, known, subsets=subsets, subset_size=size, seed=seed)
            if size < min(len(finite), len(known)):
                se = deviation * math.sqrt(size / (min(len(finite), len(known)) - size))
                half = 1.96 * se
    return distance_metric(name, value, se, half, n=len(finite), missing=missing, protocol=line)


def paired_kid_metric(
    name: str, features: Tensor, originals: Tensor, *, protocol: str, groups: int = 20
) -> tuple[Metric, list[float]]:
    """The kernel distance of reconstructions to their own originals, as a metric, and its jackknife's values.

    Row i of both, `[N, D]`, is one sample. The terms of a reconstruction with its own original are left out, like those
    of a sample with itself: a pair is no draw of two, and its near equality would bias the distance by about -1/N
    (Gretton et al. 2012, lemma 6). All N samples count once; the interval is a delete-a-group jackknife in which a
    sample leaves both sides, whose values are the second part. Samples whose features are not
    finite leave both sides and are counted. Raises UserError when the sides differ in shape.
    """
    if features.shape != originals.shape:
        raise UserError(f"{name}: reconstructions {list(features.shape)} and originals {list(originals.shape)} differ")
    finite = torch.isfinite(features).all(1)
    n = int(finite.sum())
    groups = min(groups, len(features) // 2)
    value, left_out = None, []
    if n >= 2:
        xx, xy, yy = _grams(features[finite].double(), originals[finite].double())
        terms = (xx + yy - xy - xy.t()).fill_diagonal_(0)
        value = float(terms.sum()) / (n * (n - 1))
    if groups >= 2 and n >= 2 * groups:
        # Groups by the samples' own numbers, so that they are the same for a cell without missing samples.
        number = torch.arange(len(finite))[finite] % groups
        for group in range(groups):
            stays = (number != group).to(terms)
            left = int(stays.sum())
            left_out.append(float(stays @ terms @ stays) / (left * (left - 1)))
    line = f"{protocol}; n = {n} pairs; unbiased MMD² without a pair's own terms, kernel (x·y/d + 1)³"
    spread = delete_a_group(left_out)
    return distance_metric(name, value, *spread, n=n, missing=len(features) - n, protocol=line), left_out


def _subset_size(features: Tensor, reference: Tensor, subset_size: int) -> int:
    if features.ndim != 2 or reference.ndim != 2 or features.shape[1] != reference.shape[1]:
        raise UserError(f"features must be [N, D] and [M, D], got {list(features.shape)} and {list(reference.shape)}")
    size = min(subset_size, len(features), len(reference))
    if size < 2:
        raise UserError(f"a kernel distance needs subsets of at least 2 samples, got {size}")
    return size


def _grams(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Kernel matrices within x, across and within y; a sample with itself counts nothing (the unbiased estimator)."""
    return polynomial_kernel(x, x).fill_diagonal_(0), polynomial_kernel(x, y), polynomial_kernel(y, y).fill_diagonal_(0)


def _masks(subsets: Tensor, n: int) -> Tensor:
    """Indices `[S, m]` to columns `[n, S]` of zeros and ones."""
    masks = torch.zeros(n, len(subsets), dtype=torch.float64)
    return masks.scatter_(0, subsets.t(), 1.0)


def _mmd2_of_masks(grams: tuple[Tensor, Tensor, Tensor], x_masks: Tensor, y_masks: Tensor) -> Tensor:
    xx, xy, yy = grams
    x_masks, y_masks = x_masks.to(xx.device), y_masks.to(xx.device)
    n, m = x_masks.sum(0), y_masks.sum(0)
    within_x = ((xx @ x_masks) * x_masks).sum(0) / (n * (n - 1))
    within_y = ((yy @ y_masks) * y_masks).sum(0) / (m * (m - 1))
    return within_x + within_y - 2 * ((xy @ y_masks) * x_masks).sum(0) / (n * m)


def _mmd2_of_all(x: Tensor, y: Tensor) -> Tensor:
    xx, xy, yy = _grams(x, y)
    n, m = len(x), len(y)
    return xx.sum() / (n * (n - 1)) + yy.sum() / (m * (m - 1)) - 2 * xy.mean()


def _jackknife(grams: tuple[Tensor, Tensor, Tensor], groups: int) -> tuple[float | None, float | None]:
    sides = [len(grams[0]), len(grams[2])]
    groups = min(groups, *(n // 2 for n in sides))
    if groups < 2:
        return None, None
    masks = [torch.ones(n, groups, dtype=torch.float64, device=grams[0].device) for n in sides]
    for mask in masks:
        for column, part in enumerate(group_of(len(mask), groups)):
            mask[part, column] = 0
    return delete_a_group(_mmd2_of_masks(grams, *masks).tolist())
