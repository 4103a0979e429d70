"""Pairs of proxies: whether two together say more than each."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np

from ..display import printable
from ..errors import UserError
from .correlation import Array, ranks
from .observations import Observations, Predictor

LARGEST = 500  # pairs: each costs as much as a proxy


def with_pairs(observations: Observations) -> Observations:
    """The table with a predictor for each pair of proxies that say which way is better, over the rows that have both:
    the mean of the two ranks, each the better way up, so that lower is better.

    Nothing is fitted, so that a pair is as honest as a proxy; and p is corrected for all that are tried. Raises
    UserError for too many.
    """
    chosen = [p for p in observations.predictors if not p.baseline and p.direction != "none"]
    pairs = list(combinations(chosen, 2))
    if len(pairs) > LARGEST:
        raise UserError(
            f"--pairs: {len(chosen)} proxies make {len(pairs)} pairs, and {LARGEST} are taken at most: name fewer by "
            "--proxies"
        )
    known = {name for item in observations.items for name in item.values}
    columns: dict[str, dict[int, float]] = {}
    for first, second in pairs:
        if (name := f"{first.name} + {second.name}") in known:
            raise UserError(f"--pairs: a column is called {printable(name)!r}, as the pair of the two is: rename it")
        rows = [i for i, item in enumerate(observations.items) if {first.name, second.name} <= item.values.keys()]
        if len(rows) > 2:
            total = _ranks(observations, first, rows) + _ranks(observations, second, rows)
            columns[name] = dict(zip(rows, (total / 2).tolist(), strict=True))
    items = tuple(
        replace(item, values={**item.values, **{name: column[i] for name, column in columns.items() if i in column}})
        for i, item in enumerate(observations.items)
    )
    added = [_pair(first, second) for first, second in pairs if f"{first.name} + {second.name}" in columns]
    return replace(observations, items=items, predictors=(*observations.predictors, *added))


def _pair(first: Predictor, second: Predictor) -> Predictor:
    def total(a: float | None, b: float | None) -> float | None:
        return None if a is None or b is None else a + b

    return Predictor(
        name=f"{first.name} + {second.name}",
        direction="lower",
        pair=True,
        seconds=total(first.seconds, second.seconds),
        share_of_flops=total(first.share_of_flops, second.share_of_flops),
    )


def _ranks(observations: Observations, predictor: Predictor, rows: list[int]) -> Array:
    values = np.array([observations.items[i].values[predictor.name] for i in rows])
    return ranks(-values if predictor.direction == "higher" else values)
