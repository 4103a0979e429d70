"""Numbers that claims speak of and no record holds: base columns, and a metric times a fact of its cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .groups import Group
from .rows import Row, is_number
from .statistics import Entry


def entry_of(group: Group, metric: str) -> Entry:
    """The metric over the group's seeds; also a base column, and what `SCALED` derives."""
    if metric not in SCALED:
        if any(metric in row.metrics for row in group.rows):
            return group.entry(metric)
        return Entry(values=group.values(metric), within=_exactly(group, metric))
    base, factor = SCALED[metric]
    factors = {row["seed"]: factor(row) for row in group.rows}
    entry = group.entry(base)
    values = {seed: value * f for seed, value in entry.values.items() if (f := factors[seed]) is not None}
    scales = {factors[seed] for seed in values}
    within = None
    if entry.within is not None and len(scales) == 1:  # of one seed, or of seeds that change nothing
        f = scales.pop() or 0.0
        within = (entry.within[0] * f, entry.within[1] * f)
    return Entry(values=values, within=within)


def _exactly(group: Group, column: str) -> tuple[float, float] | None:
    """A base column (positions) is what the cell was made with: where all seeds agree, it has no uncertainty."""
    values = set(group.values(column).values())
    return (min(values), max(values)) if len(values) == 1 else None


def _bits_per(row: Row, column: str) -> float | None:
    """bits_per_sample over one of the row's columns."""
    value, bits = row.get(column), row.get("bits_per_sample")
    return bits / value if is_number(value) and is_number(bits) and value else None


def _share_of_codes(row: Row) -> float | None:
    bits = _bits_per(row, "elements")
    return None if bits is None else 2.0**-bits


def _tokens(row: Row) -> float | None:
    bits = _bits_per(row, "positions")
    return None if not bits else 1 / bits


def _per_element(row: Row) -> float | None:
    elements = row.get("elements")
    return 1 / elements if is_number(elements) and elements else None


# Numbers that are a metric times a fact of the cell: (metric, factor), None where the cell has no such fact.
SCALED: Mapping[str, tuple[str, Callable[[Row], float | None]]] = {
    "perplexity_share": ("codebook_perplexity", _share_of_codes),
    "mean_tokens": ("stream_bits", _tokens),
    "active_share": ("active_units", _per_element),
}
