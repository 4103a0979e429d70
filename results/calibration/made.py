"""Columns that a calibration makes of what rows hold, so that tokenizers of codes and of values share them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..groups import Group
from ..metric import Direction, Metric
from ..rows import Row, is_number
from .admission import best_closed_forms

BEST = "cfd_best_"
NEIGHBOURS = "cfd_neighbours_"
CODES = "codes"
KINDS: Mapping[float | None, str] = {1.0: "codes", 0.0: "values"}  # by the value of that column
# The priors in closed form that model a position given its neighbours before it: of values, and of codes.
_GIVEN_NEIGHBOURS = ("cfd_autoregression_", "cfd_markov_")


def made(row: Row) -> dict[str, Metric]:
    """The columns by name.

    `cfd_best_<net>` is the smallest distance of a prior in closed form that is a model of the latents, and
    `cfd_neighbours_<net>` that of the one that models each position given its neighbours before it: `autoregression`
    of values, `markov` of codes. `codes` is 1 where the latents are codes, 0 where they are values.
    """
    columns = {BEST + net: metric for net, metric in best_closed_forms(row).items()}
    for start in _GIVEN_NEIGHBOURS:
        for name, metric in row.metrics.items():
            if name.startswith(start) and metric.value is not None:
                columns[shared_name(name)] = metric
    if isinstance(row.get("discrete"), bool):
        columns[CODES] = Metric(name=CODES, value=float(row["discrete"]), se=0.0)
    return columns


def shared_name(metric: str) -> str:
    """The name that a metric of codes or of values alone has as a column of both; its own where there is none."""
    start = next((start for start in _GIVEN_NEIGHBOURS if metric.startswith(start)), None)
    return metric if start is None else NEIGHBOURS + metric.removeprefix(start)


def made_direction(name: str) -> Direction | None:
    """Which way such a column is better; None for another column."""
    if name == CODES:
        return "none"
    return "lower" if name.startswith((BEST, NEIGHBOURS)) else None


def made_means(group: Group) -> dict[str, float]:
    """The columns of a group's rows, as means over its seeds."""
    return {name: math.fsum(values.values()) / len(values) for name, values in made_by_seed(group).items()}


def made_by_seed(group: Group) -> dict[str, dict[int, float]]:
    """The columns of a group's rows, by seed."""
    values: dict[str, dict[int, float]] = {}
    for row in group.rows:
        for name, metric in made(row).items():
            values.setdefault(name, {})[row.columns["seed"]] = float(metric.value or 0.0)
    return values


def signal_of(row: Row) -> int | None:
    """How many values a signal has; None where the row does not tell."""
    reduction, elements = row.get("tsr"), row.get("elements")
    return round(reduction * elements) if is_number(reduction) and is_number(elements) else None
