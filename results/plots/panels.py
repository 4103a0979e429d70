"""The points of lines: one column over another, a panel per suite and data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..columns import primary, rate_of, role_of
from ..errors import UserError
from ..groups import Group, aggregate, split
from ..lines import check_protocols
from ..rows import Row, metric_names
from ..statistics import Estimate
from .columns import (
    axis_label,
    check_known,
    check_numbers,
    estimate_of,
    intervals_note,
    name_by,
    names_of,
    only,
    protocol_of,
    title_of,
    untrained,
    without,
)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One group of cells that differ in their seed alone: its place, and y with its interval."""

    x: float
    y: Estimate


@dataclass(frozen=True, kw_only=True)
class Line:
    """The points of one line of the plot, by ascending x; `untrained` where no tokenizer of it has parameters, as
    codecs have none. It is dotted behind as many points as each of `ends` says."""

    label: str
    points: tuple[Point, ...]
    untrained: bool = False
    ends: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes: a suite's data set, with the texts of its axes and the notes on what is drawn."""

    title: str
    x_label: str
    y_label: str
    notes: tuple[str, ...]
    lines: tuple[Line, ...]


def panels(
    table: Sequence[Row], *, y: str | None, x: str | None = None, group: str | Sequence[str] = "label"
) -> list[Panel]:
    """A panel per suite and data set that has both columns; without `y` each has the distortion that its table is
    ranked by, without `x` its real rate. Raises UserError as `plot` does."""
    names = names_of(group)
    axes = [(option, name) for option, name in (("--x", x), ("--y", y)) if name is not None]
    check_known(table, [*axes, *(("--group", name) for name in names)])
    check_numbers(table, axes)
    drawn = []
    for groups in split(aggregate(table)):
        across = x if x is not None else rate_of(groups)
        up = y if y is not None else _distortion(groups)
        if across is not None and up is not None and (panel := _panel(groups, across, up, names)) is not None:
            drawn.append(panel)
    if not drawn and x is None:
        raise UserError(f"no cell has a number in {y or 'a distortion'} and a real rate; name another column with --x")
    if not drawn:
        raise UserError(f"no cell has a number in both {x} and {y}")
    return drawn


def _distortion(groups: Sequence[Group]) -> str | None:
    name = primary(groups)
    return name if name is not None and role_of(groups, name) == "distortion" else None


def _panel(groups: Sequence[Group], x: str, y: str, names: Sequence[str]) -> Panel | None:
    metrics = metric_names(row for group in groups for row in group.rows)
    check_protocols(groups, [name for name in (x, y) if name in metrics])
    places: dict[str, dict[float, list[Group]]] = {}
    for group in groups:
        place = group.mean(x)
        if place is not None and group.mean(y) is not None:
            places.setdefault(name_by(group, names), {}).setdefault(place, []).append(group)
    if not places:
        return None
    lines = []
    for label, by_x in places.items():
        members = {p: only(alike, f"{label!r} lie at {x} = {p:g}", (x,), names) for p, alike in sorted(by_x.items())}
        estimates = {place: estimate_of(group, y) for place, group in members.items()}
        points = tuple(Point(x=place, y=e) for place, e in estimates.items() if e is not None)
        lines.append(Line(label=label, points=points, untrained=untrained(list(members.values()))))
    notes = [protocol_of(groups, name) for name in (y, x) if name in metrics]
    notes += [without(groups, x, [y]), without(groups, y, [x])]
    notes.append(intervals_note([point.y for line in lines for point in line.points]))
    return Panel(
        title=title_of(groups[0]),
        x_label=axis_label(groups, x),
        y_label=axis_label(groups, y),
        notes=tuple(note for note in notes if note),
        lines=tuple(lines),
    )
