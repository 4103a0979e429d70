"""Cells that differ in their seed alone, taken together, and ranked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from typing import Any, TypeVar

from .errors import UserError
from .gates import NO_PRIOR
from .halving import STOPPED
from .metric import NORMAL, Direction, Metric
from .pairwise import MOST, Comparison, compare
from .rows import Row, is_number
from .samples import Samples, pseudovalues, read_samples
from .statistics import Difference, Entry, Estimate

T = TypeVar("T")

_parts = itemgetter("suite", "dataset", "modality", "recipe")
_sorted_json = json.JSONEncoder(sort_keys=True).encode

# Sums over a cell's jobs, which mean nothing before all have finished.
TOTALS = ("flops", "seconds", "train_seconds", "peak_memory_bytes")

_DOUBTS = "_doubts"


@dataclass(frozen=True, kw_only=True)
class Group:
    """The cells of one (suite, dataset, modality, recipe, label, axes), one row per seed, ordered by seed."""

    suite: str
    dataset: str
    modality: str
    recipe: str
    label: str
    axes: Mapping[str, Any]
    rows: tuple[Row, ...]
    _values: dict[str, dict[int, float]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _entries: dict[str, Entry] = field(default_factory=dict, init=False, repr=False, compare=False)
    _measured: dict[str, tuple[Metric, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def finished(self) -> int:
        """How many of the cells have finished."""
        return sum(row["status"] == "finished" for row in self.rows)

    @property
    def without_prior(self) -> int:
        """Of how many of the cells no prior is trained, since a gate lets none through; all else of them is done."""
        return sum(str(row["status"]).startswith(NO_PRIOR) for row in self.rows)

    @property
    def stopped(self) -> int:
        """Of how many of the cells the training was stopped early."""
        return sum(str(row["status"]).startswith(STOPPED) for row in self.rows)

    @property
    def settled(self) -> int:
        """How many of the cells no run does more for: finished, without a prior, or stopped early."""
        return self.finished + self.without_prior + self.stopped

    @property
    def title(self) -> str:
        """The label, followed by the recipe in brackets unless the label contains it."""
        return self.label if self.recipe in self.label else f"{self.label} ({self.recipe})"

    def values(self, name: str) -> Mapping[int, float]:
        """The column's numbers by seed; rows without one are left out, and so is the cost of an unfinished cell."""
        if name not in self._values:  # asked for many times in a table
            numbers = self._values[name] = {}
            for row in self.rows:
                value = row.get(name)
                number = type(value) is float or (value is not None and is_number(value))
                if number and (name not in TOTALS or row["status"] == "finished"):
                    numbers[row.columns["seed"]] = float(value)
        return self._values[name]

    def mean(self, name: str) -> float | None:
        """The mean of a numeric column over the seeds, None without a value."""
        values = self.values(name)
        return sum(values.values()) / len(values) if values else None

    def common(self, name: str) -> Any:
        """The value that all rows have in the column, or None."""
        values = [row.get(name) for row in self.rows]
        return values[0] if all(value == values[0] for value in values) else None

    @cached_property
    def doubtful(self) -> bool:
        """Whether there may be doubts of some of its values."""
        return any(any(map(is_doubts, row.columns)) for row in self.rows)

    def doubts(self, metric: str) -> tuple[str, ...]:
        """What its rows say is to be doubted of their values of the metric, or why they have none."""
        if not self.doubtful:  # asked for by every cell, and hardly ever there
            return ()
        column = doubts_column(metric)
        told = [row.columns[column] for row in self.rows if column in row.columns]
        return tuple(dict.fromkeys(str(text) for text in told if text))

    def entry(self, metric: str) -> Entry:
        """The metric over the seeds, with what reads its values by sample; where seeds say nothing of its uncertainty
        (there is one, or they change nothing), with the interval inside its run (or 1.96 standard errors).

        The same object each time, whose estimate is computed once."""
        if metric not in self._entries:  # asked for by columns, ranks and notes
            self._entries[metric] = self._entry(metric)
        return self._entries[metric]

    def _entry(self, metric: str) -> Entry:
        values = self.values(metric)
        within: tuple[float, float] | None = None
        if values and len(set(values.values())) == 1:
            seed, value = next(iter(values.items()))
            one = next(row.metrics[metric] for row in self.rows if row["seed"] == seed)
            within = one.interval
            if within is None and one.se is not None:
                within = (value - NORMAL * one.se, value + NORMAL * one.se)
        by_sample = any(metric in row.files or metric in row.left_out for row in self.rows)
        return Entry(values=values, within=within, read=(lambda: self.samples(metric)) if by_sample else None)

    def measured(self, metric: str) -> tuple[Metric, ...]:
        """The metric of every row that has a number in it."""
        if metric not in self._measured:  # asked for by every note
            known = [row.metrics[metric] for row in self.rows if metric in row.metrics]
            self._measured[metric] = tuple([one for one in known if one.value is not None])
        return self._measured[metric]

    def samples(self, metric: str) -> dict[int, Samples]:
        """The metric's values by sample, or of a distance by group of samples, for each seed whose job kept them."""
        result: dict[int, Samples] = {}
        for row in self.rows:
            measured, data = row.metrics.get(metric), row.jobs.get("data", "")
            if measured is None or measured.value is None:
                continue
            by_sample = read_samples(row.files[metric], measured.name, data) if metric in row.files else None
            if by_sample is None and metric in row.left_out:
                scored = f"{data}, {measured.n + measured.missing} samples"
                by_sample = pseudovalues(measured.value, row.left_out[metric], scored)
            if by_sample is not None:
                result[row["seed"]] = by_sample
        return result

    def estimate(self, metric: str) -> Estimate | None:
        """The metric's mean over the seeds with its 95 % interval; None without a value."""
        entry = self.entry(metric)
        return entry.estimate if entry.values else None


def doubts_column(metric: str) -> str:
    """The column with what is to be doubted of a row's value of the metric; rows have it where there may be doubts."""
    return f"{metric}{_DOUBTS}"


def is_doubts(column: str) -> bool:
    """Whether it is a `doubts_column`."""
    return column.endswith(_DOUBTS)


def aggregate(rows: Sequence[Row]) -> list[Group]:
    """The rows grouped over seeds, in the order of their first cells.

    Two cells of one suite that agree in everything, seed included, become two groups, the second labelled "... #2".
    Raises UserError when such cells come from different folders: they are two runs of one suite.
    """
    groups: dict[tuple[str, ...], dict[int, Row]] = {}
    for row in rows:
        facts = row.columns
        parts = _parts(facts)
        axes = _sorted_json(row.axes)
        label, copy = facts["label"], 1
        while facts["seed"] in groups.setdefault((*parts, label, axes), {}):
            other = groups[*parts, label, axes][facts["seed"]]
            if other["source"] != row["source"]:
                raise UserError(
                    f"{row['cell']} of {row['suite']!r} is in {other['source']} and in {row['source']} with "
                    f"different jobs; give one folder, or keep one with --where source={row['source']}"
                )
            copy += 1
            label = f"{row['label']} #{copy}"
        groups[*parts, label, axes][facts["seed"]] = row
    result = []
    for (suite, dataset, modality, recipe, label, _), by_seed in groups.items():
        members = tuple(by_seed[seed] for seed in sorted(by_seed))
        result.append(
            Group(
                suite=suite,
                dataset=dataset,
                modality=modality,
                recipe=recipe,
                label=label,
                axes=members[0].axes,
                rows=members,
            )
        )
    return result


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Groups ranked by one metric: the rank of each, and how they compare."""

    metric: str
    direction: Direction
    ranks: tuple[int | None, ...]
    compared: Comparison

    @cached_property
    def apart(self) -> Mapping[tuple[int, int], Difference]:
        """The pairs (i < j) that differ, with the difference i - j: of a thousand lines half a million."""
        return self.compared.differences()

    @property
    def count(self) -> int:
        """How many pairs differ."""
        return self.compared.count


def rank(groups: Sequence[Group], metric: str) -> Ranking | None:
    """The groups ranked by `metric`, None where they are too many. Raises ValueError for one without a direction."""
    if len(groups) > MOST:
        return None
    compared, direction = compare([group.entry(metric) for group in groups]), direction_of(groups, metric)
    return Ranking(
        metric=metric,
        direction=direction,
        ranks=tuple(compared.ranks(direction)),
        compared=compared,
    )


def split(groups: Sequence[Group]) -> list[list[Group]]:
    """The groups by table: one per (suite, dataset, modality), in order."""
    tables: dict[tuple[str, str, str], list[Group]] = {}
    for group in groups:
        tables.setdefault((group.suite, group.dataset, group.modality), []).append(group)
    return list(tables.values())


def detail(groups: Sequence[Group], metric: str) -> Metric | None:
    """The metric as its first row has it, for its direction and unit; None if no row has it."""
    return next((row.metrics[metric] for group in groups for row in group.rows if metric in row.metrics), None)


# Which way is better for what is no metric: less to store, to predict and to pay.
_BASE: dict[str, Direction] = {
    "tsr": "higher",
    "tsr_input": "higher",
    "elements": "lower",
    "positions": "lower",
    "bits_per_sample": "lower",
    "bits_per_element": "lower",
    "bitrate": "lower",
    "parameters": "lower",
    "prior_parameters": "lower",
    "flops": "lower",
    "tokenizer_flops": "lower",
    "prior_flops": "lower",
    "seconds": "lower",
    "train_seconds": "lower",
    "prior_seconds": "lower",
    "sampling_per_second": "higher",
    "peak_memory_bytes": "lower",
}


def direction_of(groups: Sequence[Group], name: str) -> Direction:
    """Which way is better in the column: as the metric says, or, for rate and cost, `tsr` up and all others down."""
    metric = detail(groups, name)
    return metric.direction if metric is not None else _BASE.get(name, "none")


def best_first(items: Sequence[T], value: Callable[[T], Any], *, descending: bool) -> list[T]:
    """The items by their value: numbers, then texts, then those that have None (each as they stood where equal)."""
    numbers = [item for item in items if is_number(value(item))]
    texts = [item for item in items if value(item) is not None and not is_number(value(item))]
    numbers.sort(key=value, reverse=descending)
    texts.sort(key=lambda item: str(value(item)), reverse=descending)
    return [*numbers, *texts, *(item for item in items if value(item) is None)]
