"""One metric over two columns: a grid of the lines of a table, as a table of its own or a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .columns import depends_on_count, known_columns, primary
from .comparable import incomparable
from .display import measured, show
from .errors import UserError, unknown
from .groups import Group, aggregate, best_first, detail, direction_of, split
from .headings import heading
from .lines import check_protocols, sample_counts
from .metric import Direction
from .notes import ARROWS, intervals_note, unfinished_notes
from .pairwise import compare
from .rows import Row, metric_names
from .tables import Column, Table, TableCell


@dataclass(frozen=True, kw_only=True)
class Pivot:
    """A metric of the tokenizers of one label on one data set, by the values of two columns, `down` and `across`."""

    suite: str
    dataset: str
    modality: str
    label: str
    metric: str
    heading: str
    direction: Direction
    down: str
    across: str
    rows: tuple[Any, ...]
    columns: tuple[Any, ...]
    cells: dict[tuple[Any, Any], Group]
    best: frozenset[tuple[Any, Any]]

    @property
    def title(self) -> str:
        """Suite, data set, modality and label."""
        return f"{self.suite} · {self.dataset} ({self.modality}) · {self.label}"


def pivots(table: Sequence[Row], axes: str | Sequence[str], metric: str | None = None) -> list[Pivot]:
    """A grid per suite, data set and label, of `metric` (unless named, what ranks the table) over the columns `axes`.

    Raises UserError for other than two columns, unknown ones, a column of no metric, two protocols, cells that a third
    column tells apart, and where no cell has the metric and both columns.
    """
    names = [name.strip() for name in (axes.split(",") if isinstance(axes, str) else axes)]
    groups = aggregate(table)
    known = known_columns(groups)
    if len(set(names)) != 2:
        raise UserError(f"--pivot {','.join(names)}: name two columns, one down and one across: downsample,channels")
    for name in names:
        if name not in known:
            raise unknown("column", name, known, where="--pivot")
    if metric is not None and metric not in metric_names(table):
        raise unknown("metric", metric, metric_names(table), where="--pivot")
    result = []
    for members in split(groups):
        shown = metric or primary(members)
        by_label: dict[str, list[Group]] = {}
        for group in members:
            if shown is not None and group.mean(shown) is not None and None not in [_value(group, n) for n in names]:
                by_label.setdefault(group.title, []).append(group)
        result += [_pivot(alike, label, str(shown), names) for label, alike in by_label.items()]
    if not result:
        raise UserError(f"--pivot: no cell has {metric or 'a metric'} and values of both {names[0]} and {names[1]}")
    return result


def _pivot(groups: Sequence[Group], label: str, metric: str, names: Sequence[str]) -> Pivot:
    check_protocols(groups, [metric])
    cells: dict[tuple[Any, Any], Group] = {}
    for group in groups:
        place = (_value(group, names[0]), _value(group, names[1]))
        if place in cells:
            other = cells[place].axes
            more = [axis for axis in group.axes if group.axes[axis] != other.get(axis) and axis not in names]
            hint = f"; keep one value of {', '.join(more)} with --where" if more else ""
            raise UserError(
                f"--pivot: two lines of {label!r} have {names[0]} {place[0]} and {names[1]} {place[1]}{hint}"
            )
        cells[place] = group
    direction: Direction = "none" if incomparable(groups, metric) else direction_of(groups, metric)
    places = [*cells]
    best: list[int] = []
    if direction != "none" and len(places) > 1:
        best = compare([cells[place].entry(metric) for place in places]).best(direction)
    known = detail(groups, metric)
    counts = sample_counts(groups, metric) if depends_on_count(groups, metric) else ""
    return Pivot(
        suite=groups[0].suite,
        dataset=groups[0].dataset,
        modality=groups[0].modality,
        label=label,
        metric=metric,
        heading=heading(metric, unit=known.unit if known is not None else "", counts=counts),
        direction=direction,
        down=names[0],
        across=names[1],
        rows=tuple(best_first([*dict.fromkeys(place[0] for place in places)], lambda value: value, descending=False)),
        columns=tuple(
            best_first([*dict.fromkeys(place[1] for place in places)], lambda value: value, descending=False)
        ),
        cells=cells,
        best=frozenset(places[i] for i in best),
    )


def _value(group: Group, name: str) -> Any:
    value = group.common(name)
    return show(value) if isinstance(value, list) else value


def pivot_table(pivot: Pivot) -> Table:
    """The grid as a table: a line per value of `down`, a column per value of `across`."""
    groups = tuple(pivot.cells.values())
    lines = []
    for row in pivot.rows:
        line = [TableCell(text=show(row), value=row if isinstance(row, int | float) else show(row))]
        for column in pivot.columns:
            group = pivot.cells.get((row, column))
            estimate = group.estimate(pivot.metric) if group is not None else None
            if estimate is None:
                line.append(TableCell(text="–"))
                continue
            text, margin = measured(estimate.value, estimate.half)
            best = (row, column) in pivot.best
            line.append(TableCell(text=text, margin=margin, value=estimate.value, half=estimate.half, best=best))
        lines.append(tuple(line))
    head = f"{pivot.heading} {ARROWS[pivot.direction]}".strip()
    notes = [f"{head} by {pivot.down} (down) and {pivot.across} (across).", *unfinished_notes(groups)]
    legend = intervals_note(groups, [pivot.metric])
    if reason := incomparable(groups, pivot.metric):
        notes.append(f"{pivot.metric}: no best, since {reason}.")
    return Table(
        suite=pivot.suite,
        dataset=pivot.dataset,
        modality=pivot.modality,
        part=pivot.label,
        groups=groups,
        columns=(
            Column(name=pivot.down, title=pivot.down, key=True),
            *(Column(name=f"{pivot.across}={show(v)}", title=f"{pivot.across} {show(v)}") for v in pivot.columns),
        ),
        lines=tuple(lines),
        common={},
        ranked_by=None,
        notes=(*notes, legend),
        brief=tuple(notes),
        legend=legend,
    )
