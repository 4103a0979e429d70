"""How far an outcome agrees with itself: what no proxy can be asked to exceed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .correlation import Kind
from .levels import Level, Rows, level_coefficients

_SPLITS = 200


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """`reliability`: the outcome's rank correlation with itself between disjoint halves of its seeds, corrected to all
    seeds (Spearman–Brown). `attainable`: its root, the correlation that a proxy of the true outcome would have."""

    reliability: float
    attainable: float
    seeds: int


def ceiling(level: Level, kind: Kind, rows: Rows, seed: int = 0) -> Ceiling | None:
    """The noise ceiling at a level: the mean over 200 random splits of each row's seeds in two halves.

    Rows with one seed are left out; None where fewer than three rows have more, or the coefficient has no value. An odd
    seed out of S is left out of a split, and k = S/⌊S/2⌋ times as many seeds have kr/(1 + (k − 1)r) (Spearman 1910,
    Brown 1910). The correlation with a quantity free of noise is at most the root of the reliability.
    """
    several = [i for i, values in enumerate(rows.outcomes) if len(values) > 1]
    if len(several) < 3:
        return None
    rng = np.random.default_rng(seed)
    first, second = np.empty((2, _SPLITS, len(several)))
    for column, i in enumerate(several):
        order = rng.permuted(np.tile(rows.outcomes[i], (_SPLITS, 1)), axis=1)
        half = order.shape[1] // 2
        first[:, column], second[:, column] = order[:, :half].mean(1), order[:, half : 2 * half].mean(1)
    seeds = min(len(rows.outcomes[i]) for i in several)
    agreement = level_coefficients(level, kind, first, second, np.ones(first.shape), rows.family[several])
    values = agreement[~np.isnan(agreement)]
    if not len(values):
        return None
    agreed = max(float(values.mean()), 0.0)
    longer = seeds / (seeds // 2)
    whole = longer * agreed / (1 + (longer - 1) * agreed)
    return Ceiling(reliability=whole, attainable=math.sqrt(whole), seeds=seeds)
