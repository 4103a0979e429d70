"""Spearman's, Kendall's and Pearson's coefficients of weighted rows, for many weightings at once.

A weight counts how often a row stands in a resample, so that the coefficient of a weighted row set is that of the set
in which the row is repeated. x and y may differ from resample to resample.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Kind = Literal["spearman", "kendall", "pearson"]
KINDS: tuple[Kind, ...] = ("spearman", "kendall", "pearson")


def coefficients(kind: Kind, x: Array, y: Array, weights: Array) -> Array:
    """The coefficients (B,) between x and y, each (n,) or (B, n), under the weights (B, n).

    Spearman's with mid-ranks of ties, Kendall's τ_b; NaN where x or y does not vary. They equal those of
    `scipy.stats` on rows repeated as often as their weight says.
    """
    return _COEFFICIENTS[kind](np.atleast_2d(x), np.atleast_2d(y), weights)


def coefficient(kind: Kind, x: Array, y: Array) -> float:
    """The coefficient between two arrays (n,); NaN for fewer than two rows, or where one does not vary."""
    return float(coefficients(kind, x, y, np.ones((1, len(x))))[0]) if len(x) > 1 else float("nan")


def ranks(values: Array) -> Array:
    """The mid-rank of each of the values (n,), from 1."""
    return _ranks(values[None], np.ones((1, len(values))))[0]


def partial(x: Array, y: Array, fixed: Array) -> float:
    """Spearman's partial coefficient: that of the residuals of the ranks of x and y (n,), after least squares on the
    ranks of `fixed` (n, k). NaN where fewer than k + 3 rows are there, or no residual is left."""
    n, k = fixed.shape
    if n < k + 3:
        return float("nan")
    base = np.column_stack([np.ones(n), *(ranks(column) for column in fixed.T)])
    sides = []
    for values in (x, y):
        own = ranks(values)
        rest = own - base @ np.linalg.lstsq(base, own, rcond=None)[0]
        sides.append(np.where(np.abs(rest) < 1e-9 * n, 0.0, rest))
    return coefficient("pearson", *sides)


def _pearson(x: Array, y: Array, weights: Array) -> Array:
    total = np.maximum(weights.sum(1, keepdims=True), 1e-300)  # a family that was not drawn has no rows
    dx = x - (weights * x).sum(1, keepdims=True) / total
    dy = y - (weights * y).sum(1, keepdims=True) / total
    cross, xx, yy = ((weights * a * b).sum(1) for a, b in ((dx, dy), (dx, dx), (dy, dy)))
    # What is left of a constant by rounding is no variation.
    flat = (xx <= 1e-24 * (weights * x * x).sum(1)) | (yy <= 1e-24 * (weights * y * y).sum(1))
    return _ratio(cross, xx * yy, flat)


def _spearman(x: Array, y: Array, weights: Array) -> Array:
    return _pearson(_ranks(x, weights), _ranks(y, weights), weights)


def _kendall(x: Array, y: Array, weights: Array) -> Array:
    a, b = (np.sign(side[:, :, None] - side[:, None, :]) for side in (x, y))
    shape = (len(weights), *a.shape[1:])
    cross, untied_x, untied_y = (
        np.einsum("bi,bij,bj->b", weights, np.broadcast_to(signs, shape), weights, optimize=True)
        for signs in (a * b, np.abs(a), np.abs(b))
    )
    return _ratio(cross, untied_x * untied_y)


def _ratio(cross: Array, product: Array, flat: NDArray[np.bool_] | bool = False) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((product > 0) & ~np.asarray(flat), np.clip(cross / np.sqrt(product), -1, 1), np.nan)


def _ranks(values: Array, weights: Array) -> Array:
    """The mid-rank (B, n) of each row among the weighted rows; values (1, n) or (B, n)."""
    above = values[:, :, None] - values[:, None, :]
    before = (above > 0) + 0.5 * (above == 0)
    return np.einsum("bij,bj->bi", np.broadcast_to(before, (len(weights), *before.shape[1:])), weights) + 0.5


_COEFFICIENTS: dict[Kind, Callable[[Array, Array, Array], Array]] = {
    "spearman": _spearman,
    "kendall": _kendall,
    "pearson": _pearson,
}
