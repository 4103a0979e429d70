"""How often chance alone would do as well as the best of so many proxies."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from scipy.special import stdtr

from .correlation import Array
from .levels import Level, Rows, level_coefficient, level_coefficients


def corrected_p(level: Level, tried: Mapping[str, Rows], draws: int = 2000, seed: int = 0) -> dict[str, float]:
    """The two-sided p of each proxy's Spearman coefficient at a level, corrected for the number of proxies tried.

    The outcome is permuted, of all rows in one way for all proxies: means change places between families, and what is
    left does between the rows of a family. p is the share of permutations in which the *best* of all proxies does as
    well as this one (Westfall & Young 1993), by the p that Student's t would give each coefficient among as many
    independent rows, and never below the chance of a perfect order: three rows are in one a third of the time, and
    say nothing against a proxy that all rows have. Proxies without a coefficient at the level have none.

    `tried` are the proxies' rows, all out of one table: a row is known by its index in `Rows.place`.
    """
    rows = [part for part in tried.values() if len(part)]
    if not rows:
        return {}
    outcome, family = _table(rows)
    permuted = _permuted(outcome, family, draws, np.random.default_rng(seed))
    own: dict[str, float] = {}
    best = np.ones(draws)
    for name, part in tried.items():
        if not len(part):
            continue
        own_value = level_coefficient(level, "spearman", part)
        if math.isnan(own_value):
            continue
        own[name] = float(_nominal(level, np.array([own_value]), part)[0])
        chance = np.empty(draws)
        for start in range(0, draws, 500):
            y = permuted[start : start + 500, part.place]
            chance[start : start + 500] = level_coefficients(
                level, "spearman", part.x, y, np.ones((len(y), len(part))), part.family
            )
        best = np.fmin(best, _nominal(level, chance, part))
    return {name: (1 + int((best <= value * (1 + 1e-9)).sum())) / (1 + draws) for name, value in own.items()}


def _nominal(level: Level, values: Array, rows: Rows) -> Array:
    """The two-sided p of coefficients, as if rows were independent; NaN for one that is none."""
    sizes = np.unique(rows.family, return_counts=True)[1]
    n = {"overall": len(rows), "across": len(sizes), "within": int((sizes - 1).sum()) + 1}[level]
    orders = {"overall": [len(rows)], "across": [len(sizes)], "within": [size for size in sizes if size > 2]}[level]
    perfect = 2 * math.exp(-sum(math.lgamma(size + 1) for size in orders))  # the chance of one order or its reverse
    magnitude = np.minimum(np.abs(values), 1 - 1e-12)
    t = math.sqrt(max(n - 2, 1)) * magnitude / np.sqrt(1 - magnitude * magnitude)
    return np.asarray(np.maximum(2 * stdtr(max(n - 2, 1), -t), perfect))


def _table(rows: list[Rows]) -> tuple[Array, Array]:
    size = 1 + max(int(part.place.max()) for part in rows)
    outcome, family = np.full(size, np.nan), np.full(size, -1)
    for part in rows:
        outcome[part.place], family[part.place] = part.y, part.family
    return outcome, family


def _permuted(outcome: Array, family: Array, draws: int, rng: np.random.Generator) -> Array:
    """Outcomes (draws, rows) with families' means exchanged among families, and residuals among a family's rows."""
    known = np.flatnonzero(family >= 0)
    labels, places = np.unique(family[known], return_inverse=True)
    parts = [np.flatnonzero(family == label) for label in labels]
    means = np.array([outcome[part].mean() for part in parts])
    rest = [(part, outcome[part] - mean) for part, mean in zip(parts, means, strict=True) if len(part) > 1]
    result = np.full((draws, len(outcome)), np.nan)
    for draw in range(draws):
        result[draw, known] = means[rng.permutation(len(means))][places]
        for part, values in rest:
            result[draw, part] += rng.permutation(values)
    return result
