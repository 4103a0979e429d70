"""The lines of one table, and what is asked of all of them: looked up once, and computed for all at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import UserError
from .estimates import Estimates, Mask, estimates
from .groups import TOTALS, Group, detail, is_doubts
from .metric import NORMAL, Metric
from .metrics import Heads
from .quantiles import Array
from .rows import Row, axis_column, is_number, metric_names

Places = NDArray[np.intp]

_how = attrgetter("protocol", "n", "missing", "unit", "blind_to")


class Lines(list[Group]):
    """The groups of one table, in their order, which must not change any more."""

    def __init__(self, groups: Iterable[Group]) -> None:
        super().__init__(groups)
        self._unordered: tuple[Lines, Places] | None = None
        self._counts: dict[str, Mapping[Any, int]] = {}
        self._ways: dict[str, list[tuple[Group, Metric, int]]] = {}
        self._numbers: dict[str, tuple[Array, Mask]] = {}
        self._estimates: dict[str, Estimates] = {}
        self._valued: dict[str, list[Group]] = {}

    def reordered(self, groups: Iterable[Group]) -> Lines:
        """The same groups in another order."""
        lines = Lines(groups)
        places = {id(group): place for place, group in enumerate(self)}
        lines._unordered = self, np.array([places[id(group)] for group in lines], dtype=np.intp)
        return lines

    @cached_property
    def rows(self) -> list[Row]:
        """Those of all groups, in order."""
        return [row for group in self for row in group.rows]

    @cached_property
    def _group_of_row(self) -> list[Group]:
        return [group for group in self for _ in group.rows]

    @cached_property
    def metric_names(self) -> list[str]:
        """As `rows.metric_names` of all rows."""
        return metric_names(self.rows)

    @cached_property
    def _alike(self) -> list[tuple[Heads, Places, Array]]:
        """What rows measure that measure the same, their places, and the numbers `[rows, 4 per metric]` (NaN: none)."""
        alike: dict[int, list[int]] = {}
        for place, row in enumerate(self.rows):
            alike.setdefault(id(row.metrics.heads), []).append(place)
        metrics = [(places, [self.rows[place].metrics for place in places]) for places in alike.values()]
        return [
            (ms[0].heads, np.array(places, dtype=np.intp), np.array([m.numbers for m in ms], dtype=float))
            for places, ms in metrics
        ]

    @cached_property
    def columns(self) -> set[str]:
        """Those of all rows."""
        return set().union(*(row.columns for row in self.rows))

    @cached_property
    def axes(self) -> dict[str, str]:
        """All axes in the order in which they appear, with their columns."""
        names = dict.fromkeys(axis for group in self for axis in group.axes)
        return {axis: axis_column(axis) for axis in names}

    @cached_property
    def doubtful(self) -> list[int]:
        """The places of groups of some of whose values there may be doubts."""
        if not any(map(is_doubts, self.columns)):
            return []
        return [place for place, group in enumerate(self) if group.doubtful]

    @cached_property
    def unfinished(self) -> list[int]:
        """The places of groups of which some cell has not finished."""
        return [i for i, group in enumerate(self) if any(row.columns["status"] != "finished" for row in group.rows)]

    @cached_property
    def marked(self) -> list[int]:
        """The places of groups whose tokenizers' contract complains of something."""
        return [i for i, group in enumerate(self) if any(row.marks for row in group.rows)]

    @cached_property
    def _by_sample(self) -> list[int]:
        """The places of groups with values by sample, of whatever metric."""
        return [i for i, group in enumerate(self) if any(row.files or row.left_out for row in group.rows)]

    @cached_property
    def _places(self) -> tuple[Any, Any, int]:
        """For each row its line and its place in it; the most rows that a line has."""
        lines = [line for line, group in enumerate(self) for _ in group.rows]
        places = [place for group in self for place in range(len(group.rows))]
        return np.array(lines, dtype=np.intp), np.array(places, dtype=np.intp), max(places, default=0) + 1

    def ways(self, metric: str) -> list[tuple[Group, Metric, int]]:
        """The metric once for each way in which it was measured (protocol, samples, unit), as the first row with a
        number has it: that row's group, and how many rows there are of the kind."""
        if metric not in self._ways:
            counts = self._counts_of(metric)
            first: dict[Any, tuple[Group, Metric]] = {}
            for group, row in zip(self._group_of_row, self.rows, strict=True):
                if len(first) == len(counts):  # nearly always with the first row
                    break
                one = row.metrics.get(metric)
                if one is not None and one.value is not None:
                    first.setdefault(_how(one), (group, one))
            self._ways[metric] = [(*first[how], counts[how]) for how in first]
        return self._ways[metric]

    def _counts_of(self, metric: str) -> Mapping[Any, int]:
        """How many rows have a number in the metric, by the way in which it was measured."""
        if self._unordered is not None:
            return self._unordered[0]._counts_of(metric)
        if metric not in self._counts:
            counts = self._counts[metric] = Counter[Any]()
            for heads, _, numbers in self._alike:
                if metric in heads and (valued := int((~np.isnan(numbers[:, heads[metric][0]])).sum())):
                    counts[_how(heads[metric][1])] += valued
        return self._counts[metric]

    def numbers(self, name: str) -> tuple[Array, Mask]:
        """The column's numbers `[lines, seeds]` as `Group.values` has them, and where there are any."""
        if name not in self._numbers:
            if self._unordered is not None:
                lines, order = self._unordered
                values, present = lines.numbers(name)
                values, present = values[order], present[order]
            else:
                is_metric = name not in self.columns and name in self.metric_names
                raw = self._metric(name) if is_metric else self._base(name)
                line, place, most = self._places
                values, present = np.zeros((len(self), most)), np.zeros((len(self), most), dtype=bool)
                present[line, place] = there = ~np.isnan(raw)
                values[line, place] = np.where(there, raw, 0.0)
            self._numbers[name] = values, present
        return self._numbers[name]

    def _base(self, name: str) -> Array:
        """The number that each row has in the column, NaN where it has none that counts."""
        raw = [row.get(name) for row in self.rows]
        numbers = np.array([float(value) if is_number(value) else np.nan for value in raw])
        if name in TOTALS and self.unfinished:
            numbers[[row.columns["status"] != "finished" for row in self.rows]] = np.nan
        return numbers

    def _metric(self, name: str) -> Array:
        """As `_base`, of a metric."""
        raw = np.full(len(self.rows), np.nan)
        for heads, places, numbers in self._alike:
            if name in heads:
                raw[places] = numbers[:, heads[name][0]]
        return raw

    def means(self, name: str) -> list[float | None]:
        """The means as `Group.mean` has them."""
        values, present = self.numbers(name)
        counts, totals = present.sum(1), np.zeros(len(self))
        for column in values.T:
            totals += column  # seed by seed, as `sum` adds them
        with np.errstate(invalid="ignore"):
            means = (totals / counts).tolist()
        return [mean if count else None for mean, count in zip(means, counts.tolist(), strict=True)]

    def has(self, name: str) -> bool:
        """Whether there is a number in the column."""
        return bool(self.numbers(name)[1].any())

    def estimates(self, metric: str) -> Estimates:
        """The estimates as `Group.estimate` has them."""
        if metric not in self._estimates:
            values, present = self.numbers(metric)
            known = self._estimates[metric] = estimates(values, present, self._around(metric, values, present))
            for line in self.by_sample(metric):
                if known.counts[line]:
                    known.set(line, self[line].entry(metric).estimate)
        return self._estimates[metric]

    def _around(self, metric: str, values: Array, present: Mask) -> Array:
        """The intervals `[lines, 2]` within the run of each line's first value, where seeds say nothing."""
        first = present.argmax(1)
        alike = (~present | (values == values[range(len(self)), first][:, None])).all(1)
        around = np.full((len(self), 2), np.nan)
        for line in np.flatnonzero(present.any(1) & alike).tolist():
            own = self[line].rows[first[line]].metrics
            if metric not in own:
                continue
            value, se, low, high = own.numbers_of(metric)
            if low is not None:
                around[line] = low, high
            elif value is not None and se is not None:
                around[line] = float(value) - NORMAL * se, float(value) + NORMAL * se
        return around

    def by_sample(self, metric: str) -> list[int]:
        """The places of groups with values of the metric by sample."""
        rows_of = ((line, self[line].rows) for line in self._by_sample)
        return [line for line, rows in rows_of if any(metric in row.files or metric in row.left_out for row in rows)]

    def valued(self, name: str) -> list[Group]:
        """Those with a number in the column."""
        if name not in self._valued:
            self._valued[name] = [self[line] for line in np.flatnonzero(self.numbers(name)[1].any(1)).tolist()]
        return self._valued[name]


def as_lines(groups: Sequence[Group]) -> Lines:
    """The groups as the lines of a table."""
    return groups if isinstance(groups, Lines) else Lines(groups)


def measurements(groups: Sequence[Group], metric: str) -> list[tuple[Group, Metric]]:
    """The metric of every row that has a number in it, with the row's group."""
    return [(group, one) for group in groups for one in group.measured(metric)]


def protocols_of(groups: Sequence[Group], metric: str) -> dict[str, Group]:
    """The protocols by which the metric was measured in these groups, each with the first group that has it."""
    first: dict[str, Group] = {}
    for group, one, _ in as_lines(groups).ways(metric):
        first.setdefault(one.protocol, group)
    return first


def check_protocols(groups: Sequence[Group], metrics: Sequence[str]) -> None:
    """Raises UserError when a metric of one table was measured by two protocols: such values are not comparable.

    Rates are: their protocols say by which estimate each tokenizer's bits are known, which its latents decide.
    """
    for metric in metrics:
        known = detail(groups, metric)
        protocols = {} if known is not None and known.role == "rate" else protocols_of(groups, metric)
        if len(protocols) > 1:
            (first, a), (second, b) = list(protocols.items())[:2]
            raise UserError(
                f"{a.suite}, {a.dataset}: {metric} has two protocols, {first!r} ({a.title}) and {second!r} "
                f"({b.title}), which must not be mixed; keep one with --where 'protocols.{metric}={first}'"
            )


def sample_counts(groups: Sequence[Group], metric: str) -> str:
    """`@256`: the samples that the metric was measured on, `@250–256` where lines lost some, "" if none are counted."""
    counts = sorted({measured.n for _, measured, _ in as_lines(groups).ways(metric)} - {0})
    return f"@{'–'.join(dict.fromkeys(map(str, (counts[0], counts[-1]))))}" if counts else ""
