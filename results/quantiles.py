"""Quantiles of Student's t, from SciPy, and of Tukey's studentised range, each computed once.

The range is integrated here: SciPy's takes a hundred times as long, and most of a second to be imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from .metric import NORMAL

LEVEL = 0.95

Array = NDArray[np.float64]

# Between these degrees of freedom the logarithm of the range's quantile is taken to be linear in their inverse, which
# is right to 1 %. A quantile costs some milliseconds, and every pair of a table may have its own degrees.
_NODES = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 16.0, 30.0, 80.0, math.inf)


# The 97.5 % points of Student's t with 1, 2, ... degrees of freedom, as SciPy has them: those of two seeds, three, ...
_STUDENT = (12.706204736174694, 4.302652729749462, 3.1824463052837078, 2.7764451051977934, 2.5705818356363146)


@cache
def student(freedom: float) -> float:
    """The 97.5 % point of Student's t; the normal's for infinite degrees of freedom."""
    if freedom in range(1, len(_STUDENT) + 1):  # a table of many lines needs no more of SciPy
        return _STUDENT[int(freedom) - 1]
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + LEVEL) / 2)) if math.isfinite(freedom) else NORMAL


def sidak(entries: int, freedom: Array) -> Array:
    """The point of Student's t that the differences of all pairs of `entries` stay within in 95 % of tables, by degrees
    of freedom (an array), where each pair has a variance of its own (Šidák 1967; Dunnett's T3, 1980).

    Tukey's range asks for one variance; with a pair's own from a dozen samples it held 85 %.
    """
    from scipy.special import ndtri, stdtrit

    pairs = entries * (entries - 1) // 2
    point = (1 + LEVEL ** (1 / pairs)) / 2
    finite = np.where(np.isfinite(freedom), freedom, 1.0)
    return np.where(np.isfinite(freedom), stdtrit(finite, point), ndtri(point))


def tukey(entries: int, freedom: Array) -> Array:
    """The 95 % point of the studentised range of `entries` means over √2, by degrees of freedom (an array).

    In the place of Student's t it makes the intervals of all differences hold together (Tukey 1953). One value for all
    is exact; several are interpolated.
    """
    if entries == 2:
        values, places = np.unique(freedom, return_inverse=True)
        return np.array([student(float(value)) for value in values])[places].reshape(freedom.shape)
    freedom = np.maximum(freedom, 1.0)
    if freedom.size and freedom.min() == freedom.max():
        return np.full(freedom.shape, _range(entries, float(freedom.flat[0])))
    values = np.unique(freedom)
    if len(values) <= 3:
        exact = np.array([_range(entries, float(value)) for value in values])
        return exact[np.searchsorted(values, freedom)]
    inverse = [1 / node for node in _NODES]
    low = max(i for i, node in enumerate(_NODES) if node <= values[0])
    high = min(i for i, node in enumerate(_NODES) if node >= values[-1])
    logs = [math.log(_range(entries, node)) for node in _NODES[low : high + 1]]
    few = len(values) < freedom.size // 8  # else looking them up takes longer than computing them again
    points = np.exp(np.interp(1 / (values if few else freedom), inverse[low : high + 1][::-1], logs[::-1]))
    return points[np.searchsorted(values, freedom)] if few else points


@cache
def _range(entries: int, freedom: float) -> float:
    # Beyond a few hundred degrees the limit is as good to four digits.
    freedom = freedom if freedom < 2000 else math.inf
    scales, weights = _scales(freedom)

    def missing(log: float) -> float:  # in logits, which are nearly linear
        share = float(weights @ _of_normals(math.exp(log) * scales, entries))
        share = min(max(share, 1e-15), 1 - 1e-15)
        return math.log(LEVEL / (1 - LEVEL)) - math.log(share / (1 - share))

    # The limit costs next to nothing, and Student's point grows about as the range's does.
    wider = student(freedom) / NORMAL
    guess = math.log(_range(entries, math.inf) * math.sqrt(2) * wider) if math.isfinite(freedom) else math.log(3.0)
    return math.exp(_root(missing, guess)) / math.sqrt(2)


def _root(function: Callable[[float], float], guess: float) -> float:
    """Where a falling and nearly linear function is 0, to about 1e-11, by secants. SciPy's ways to find a root take as
    long to be imported as a table to be computed."""
    last, before = guess, function(guess)
    point = last + 0.05 * before
    while abs(point - last) > 1e-11:
        value = function(point)
        if value == before:
            break
        last, before, point = point, value, point - value * (point - last) / (value - before)
    return point


def _scales(freedom: float) -> tuple[Array, Array]:
    """Values of χ / √ν with their weights in an integral over its density, by Gauss and Legendre in their logarithm."""
    from scipy.special import chdtri, gammaln

    if not math.isfinite(freedom):
        return np.ones(1), np.ones(1)
    nodes, weights = _gauss(160)
    squares = [float(chdtri(freedom, tail)) for tail in (1 - 1e-12, 1e-16)]
    low, high = (0.5 * math.log(max(square, 1e-9) / freedom) for square in squares)
    logs = (low + high) / 2 + (high - low) / 2 * nodes
    constant = math.log(2) + freedom / 2 * math.log(freedom / 2) - float(gammaln(freedom / 2))
    density = np.exp(constant + freedom * logs - freedom / 2 * np.exp(2 * logs))
    return np.exp(logs), (high - low) / 2 * weights * density


def _of_normals(widths: Array, entries: int) -> Array:
    """The probability that the range of so many standard normals is at most each of `widths`."""
    from scipy.special import ndtr

    largest, below, weights = _largest(entries)
    inside = below - ndtr(largest - widths[:, None])
    return np.asarray(inside ** (entries - 1) @ weights)


@cache
def _largest(entries: int) -> tuple[Array, Array, Array]:
    """Values of the largest of so many normals, as far as they are likely at all; the share of normals below each; and
    weights in an integral over the density of one of them being there."""
    from scipy.special import ndtr, ndtri

    nodes, weights = _gauss(96)
    low, high = max(-9.0, float(ndtri(10 ** (-17 / (entries - 1))))), 9.0
    largest = (low + high) / 2 + (high - low) / 2 * nodes
    density = np.exp(-(largest**2) / 2) / math.sqrt(2 * math.pi)
    return largest, ndtr(largest), entries * (high - low) / 2 * weights * density


@cache
def _gauss(count: int) -> tuple[Array, Array]:
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return nodes, weights
