"""The variance of a mean over seeds and samples, both drawn at random, every seed scored on every sample.

The value of sample m under seed s is x_sm = μ + seed_s + sample_m + rest_sm (crossed random effects). The mean over S
seeds and M samples has the variance σ²_seed / S + σ²_sample / M + σ²_rest / (S M), which is estimated without bias by
V_seed + V_sample - V_rest: the variance of the S means over samples, over S; that of the M means over seeds, over M;
and that of the rest, over S M, which the first two hold once each (Clark 1973; Gallas 2006).

The two parts are known with S - 1 and M - 1 degrees of freedom, and their intervals combined as Howe (1974) does for
the sum of two means: half² = t²(S - 1) V_seed + t²(M - 1) (V_sample - V_rest), at least t²(M - 1) V_sample.
Satterthwaite's one number of degrees is too large where two or three seeds happen to agree: 88 % coverage, not 95.

Samples may be skewed (a few hard images, some at a cap), and then Student's t misses the mean on one side. There its
quantile becomes what Hall's transformation makes of it (1992, "On the removal of skewness by transformation", JRSS B
54, section 2); on the other side it stays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .quantiles import Array, student


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The variance of a mean in its parts, the degrees of freedom of the first two, and the skewness of the samples."""

    seeds: float = 0.0
    seeds_freedom: float = math.inf
    samples: float
    samples_freedom: float
    rest: float = 0.0
    skewness: float = 0.0

    @cached_property
    def half_widths(self) -> tuple[float, float]:
        """How far the 95 % interval reaches below and above the value."""
        below, above = unskewed(
            np.array(student(self.samples_freedom)), np.array(self.skewness), np.array(self.samples_freedom + 1)
        )
        return self._half(float(below)), self._half(float(above))

    @property
    def half(self) -> float:
        """Half of the 95 % interval's width, where one number must stand for both sides."""
        return sum(self.half_widths) / 2

    def _half(self, quantile: float) -> float:
        of_seeds, of_samples = student(self.seeds_freedom) ** 2, quantile**2
        whole = of_seeds * self.seeds + of_samples * max(self.samples - self.rest, 0.0)
        return math.sqrt(max(whole, of_samples * self.samples))


def crossed(by_seed: Sequence[Array]) -> Spread | None:
    """The variance of the mean of `S` arrays `[M]`, one per seed, over the same samples.

    Samples that are not finite under some seed are left out; None where fewer than two are left.
    """
    values = complete(by_seed)
    if values is None:
        return None
    seeds, samples = values.shape
    by_sample = values.mean(0)
    of_samples, skewness = float(by_sample.var(ddof=1)) / samples, skewness_of(by_sample)
    if seeds == 1:
        return Spread(samples=of_samples, samples_freedom=samples - 1, skewness=skewness)
    return Spread(
        seeds=float(values.mean(1).var(ddof=1)) / seeds,
        seeds_freedom=seeds - 1,
        samples=of_samples,
        samples_freedom=samples - 1,
        rest=rest_variance(values),
        skewness=skewness,
    )


def crossed_pair(a: Sequence[Array], b: Sequence[Array]) -> Spread | None:
    """The variance of mean(a) - mean(b), whose seeds have nothing to do with each other: seeds by Welch, samples
    paired."""
    values = complete([*a, *b])
    if values is None:
        return None
    first, second = values[: len(a)], values[len(a) :]
    samples = values.shape[1]
    by_sample = first.mean(0) - second.mean(0)
    of_samples = float(by_sample.var(ddof=1)) / samples
    parts = [(float(x.mean(1).var(ddof=1)) / len(x), len(x) - 1) for x in (first, second) if len(x) > 1]
    of_seeds = sum(variance for variance, _ in parts)
    below = sum(variance**2 / freedom for variance, freedom in parts)
    return Spread(
        seeds=of_seeds,
        seeds_freedom=of_seeds**2 / below if below > 0 else math.inf,
        samples=of_samples,
        samples_freedom=samples - 1,
        rest=sum(rest_variance(x) for x in (first, second) if len(x) > 1),
        skewness=skewness_of(by_sample),
    )


def complete(by_seed: Sequence[Array]) -> Array | None:
    """The arrays as one `[S, M]`, without the samples that are not finite in all; None with fewer than two samples."""
    values = np.stack([np.asarray(x, dtype=np.float64) for x in by_seed])
    values = values[:, np.isfinite(values).all(0)]
    return values if values.shape[1] > 1 else None


def skewness_of(values: Array) -> float:
    """The third central moment of `[M]` over the cubed standard deviation; 0 where nothing varies."""
    centred = values - values.mean()
    largest = float(np.abs(centred).max())
    if not 0 < largest < math.inf:
        return 0.0
    centred = centred / largest  # cubes of large values overflow
    return float((centred**3).mean() / ((centred**2).sum() / (len(centred) - 1)) ** 1.5)


def unskewed(quantile: Array, skewness: Array, samples: Array) -> tuple[Array, Array]:
    """How many standard errors the interval of a mean reaches below and above it, for a `quantile` of the statistic
    without skewness: with T = (mean - truth) / error, f(T) = T + g T²/3 + g² T³/27 + g/6, g = skewness / √samples, has
    less skewness than T, and its inverse takes the quantile back (Hall 1992). Neither is less than the quantile itself:
    a few samples do not show that they are so skewed as to need less."""
    g = skewness / np.sqrt(samples)
    small = np.abs(g) < 1e-6
    third = np.where(small, 1.0, g / 3)

    def inverse(y: Array) -> Array:
        return np.where(small, y, (np.cbrt(1 + 3 * third * (y - g / 6)) - 1) / third)

    return np.maximum(quantile, inverse(quantile)), np.maximum(quantile, -inverse(-quantile))


def rest_variance(values: Array) -> float:
    """V_rest of `[S, M]`: what seeds and samples together do beyond each, as a part of the mean's variance."""
    seeds, samples = values.shape
    rest = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    return float((rest * rest).sum()) / ((seeds - 1) * (samples - 1)) / (seeds * samples)
