"""Spearman's, Kendall's and Pearson's coefficients of weighted rows, for many weightings at once.

A weight counts how often a row stands in a resample, so that the coefficient of a weighted row set is that of the set
in which the row is repeated. x and y may differ from resample to resample.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Kind = Literal["spearman", "kendall", "pearson"]
KINDS: tuple[Kind, ...] = ("spearman", "kendall", "pearson")
_LARGEST_BLOCK = 2**20  # numbers in an array: resamples are taken in blocks, so that memory grows with rows alone
_MOST_DOUBLINGS = 1000  # two to it is still a number


def coefficients(kind: Kind, x: Array, y: Array, weights: Array) -> Array:
    """The coefficients (B,) between x and y, each (n,) or (B, n), under the weights (B, n).

    Spearman's with mid-ranks of ties, Kendall's τ_b; NaN where x or y does not vary. They equal those of
    `scipy.stats` on rows repeated as often as their weight says.
    """
    x, y = np.atleast_2d(x), np.atleast_2d(y)
    step = max(_LARGEST_BLOCK // max(weights.shape[1], 1), 1)
    parts = []
    for draws in (slice(start, start + step) for start in range(0, len(weights), step)):
        first, second = (side if len(side) == 1 else side[draws] for side in (x, y))
        parts.append(_COEFFICIENTS[kind](first, second, weights[draws]))
    return np.concatenate(parts) if parts else np.empty(0)


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


def scale(values: Array) -> float:
    """The power of two that brings the largest of the values to about 1: multiplied by it they keep every bit, and
    their squares are numbers however large or small they are."""
    largest = float(np.max(np.abs(values), initial=0.0))
    return math.ldexp(1.0, min(-math.frexp(largest)[1], _MOST_DOUBLINGS)) if largest else 1.0


def _pearson(x: Array, y: Array, weights: Array) -> Array:
    x, y = x * scale(x), y * scale(y)
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
    untied_x, untied_y = (_untied(side, weights) for side in (x, y))
    return _ratio(_concordance(_distinct(x), _distinct(y), weights), untied_x * untied_y)


def _untied(values: Array, weights: Array) -> Array:
    """The weight (B,) of the pairs with different values."""
    total = weights.sum(1)
    return np.asarray(total * total - (weights * _around(values, weights)[1]).sum(1))


def _concordance(x: Array, y: Array, weights: Array) -> Array:
    """The weight (B,) of the pairs that x and y order alike, less that of those which they order differently."""
    count = weights.shape[1]
    result = np.zeros(len(weights))
    if len(x) == len(y) == 1:
        step = max(_LARGEST_BLOCK // max(count, 1), 1)
        for rows in (slice(start, start + step) for start in range(0, count, step)):
            signs = np.sign(x.T[rows] - x) * np.sign(y.T[rows] - y)
            result += ((weights @ signs.T) * weights[:, rows]).sum(1)
        return result
    step = max(_LARGEST_BLOCK // max(count * count, 1), 1)
    for draws in (slice(start, start + step) for start in range(0, len(weights), step)):
        a, b = (side if len(side) == 1 else side[draws] for side in (x, y))
        signs = np.sign(a[:, :, None] - a[:, None, :]) * np.sign(b[:, :, None] - b[:, None, :])
        result[draws] = ((signs @ weights[draws, :, None])[:, :, 0] * weights[draws]).sum(1)
    return result


def _distinct(values: Array) -> Array:
    """The values as one row (1, n) where all rows are alike."""
    return values[:1] if (values == values[:1]).all() else values


def _ratio(cross: Array, product: Array, flat: NDArray[np.bool_] | bool = False) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((product > 0) & ~np.asarray(flat), np.clip(cross / np.sqrt(product), -1, 1), np.nan)


def _ranks(values: Array, weights: Array) -> Array:
    """The mid-rank (B, n) of each row among the weighted rows; values (1, n) or (B, n)."""
    before, alike = _around(values, weights)
    return before + alike / 2 + 0.5


def _around(values: Array, weights: Array) -> tuple[Array, Array]:
    """The weights (B, n) of what lies below each row's value, and of what equals it; values (1, n) or (B, n)."""
    if not values.shape[1]:
        return weights, weights
    shape = weights.shape
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    first = np.ones(order.shape, dtype=bool)  # of the rows with one value
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    last = np.ones(order.shape, dtype=bool)
    last[:, :-1] = first[:, 1:]
    place = np.arange(shape[1])
    start = np.maximum.accumulate(np.where(first, place, 0), axis=1)
    end = np.minimum.accumulate(np.where(last, place, shape[1])[:, ::-1], axis=1)[:, ::-1]
    sums = np.zeros((shape[0], shape[1] + 1))
    np.cumsum(np.take_along_axis(weights, np.broadcast_to(order, shape), axis=1), axis=1, out=sums[:, 1:])
    back = np.argsort(order, axis=1)
    below = np.take_along_axis(sums, np.broadcast_to(np.take_along_axis(start, back, axis=1), shape), axis=1)
    upto = np.take_along_axis(sums, np.broadcast_to(np.take_along_axis(end, back, axis=1) + 1, shape), axis=1)
    return below, upto - below


_COEFFICIENTS: dict[Kind, Callable[[Array, Array, Array], Array]] = {
    "spearman": _spearman,
    "kendall": _kendall,
    "pearson": _pearson,
}
