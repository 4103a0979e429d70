"""Heat maps: one column by two options of the grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..display import measured, show
from ..errors import UserError
from ..groups import Group, aggregate, best_first, direction_of, split
from ..headings import name_of
from ..lines import check_protocols
from ..rows import Row, metric_names
from .columns import (
    axis_label,
    check_known,
    check_numbers,
    estimate_of,
    name_by,
    names_of,
    only,
    protocol_of,
    title_of,
)
from .layout import by_panel, figure_of, finish
from .matrix import Matrix, colour_bar, draw_matrix, size_of
from .style import Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """A panel's matrix; the colours' text; whether bright stands for low; and the range of the colours, which panels of
    one data set share."""

    matrix: Matrix
    label: str
    low_is_bright: bool
    low: float
    high: float


def heatmaps(
    table: Sequence[Row],
    *,
    colour: str,
    x: str = "downsample",
    y: str = "channels",
    group: str | Sequence[str] = "label",
) -> list[HeatMap]:
    """A heat map per suite, data set and value of the columns `group`. Raises UserError as `results.plot.plot` does."""
    names = names_of(group)
    options = [("--x", x), ("--y", y), *(("--group", name) for name in names)]
    check_known(table, [("--colour", colour), *options])
    check_numbers(table, [("--colour", colour)])
    if x == y:
        raise UserError(f"--x and --y are both {x}: name two options")
    drawn = [one for groups in split(aggregate(table)) for one in _of_data_set(groups, colour, x, y, names)]
    if not drawn:
        raise UserError(f"no cell has a number in {colour} and values of {x} and {y}")
    return drawn


def _of_data_set(groups: Sequence[Group], colour: str, x: str, y: str, names: Sequence[str]) -> list[HeatMap]:
    is_metric = colour in metric_names(row for group in groups for row in group.rows)
    check_protocols(groups, [colour] if is_metric else [])
    placed: dict[str, list[Group]] = {}
    for group in groups:
        if group.mean(colour) is not None and None not in (group.common(x), group.common(y)):
            placed.setdefault(name_by(group, names), []).append(group)
    values = [value for one in placed.values() for group in one if (value := group.mean(colour)) is not None]
    notes = [protocol_of(groups, colour) if is_metric else "", "numbers: means over seeds ± half of the 95 % interval"]
    return [
        HeatMap(
            matrix=_matrix(one, f"{title_of(one[0])} · {name}", colour, x, y, names, [note for note in notes if note]),
            label=axis_label(groups, colour),
            low_is_bright=direction_of(groups, colour) == "lower",
            low=min(values),
            high=max(values),
        )
        for name, one in placed.items()
    ]


def _matrix(
    groups: Sequence[Group], title: str, colour: str, x: str, y: str, names: Sequence[str], notes: Sequence[str]
) -> Matrix:
    across, up = _places(groups, x), _places(groups, y)
    by_place: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        by_place.setdefault((show(group.common(y)), show(group.common(x))), []).append(group)
    values: dict[tuple[str, str], tuple[float, str]] = {}
    for place, alike in by_place.items():
        member = only(alike, f"{title!r} lie at {y} = {place[0]}, {x} = {place[1]}", (x, y), names)
        estimate = estimate_of(member, colour)
        if estimate is not None:
            number, half = measured(estimate.value, estimate.half)
            values[place] = (estimate.value, f"{number}\n±{half}" if half else number)
    return Matrix(
        title=title,
        x_label=name_of(x),
        y_label=name_of(y),
        across=tuple(across),
        up=tuple(up),
        values=tuple(
            tuple(values[row, column][0] if (row, column) in values else None for column in across) for row in up
        ),
        texts=tuple(tuple(values.get((row, column), (0.0, "–"))[1] for column in across) for row in up),
        notes=tuple(notes),
    )


def _places(groups: Sequence[Group], option: str) -> list[str]:
    """The option's values as texts, numbers by size."""
    values: list[Any] = best_first([group.common(option) for group in groups], lambda value: value, descending=False)
    return list(dict.fromkeys(show(value) for value in values))


def draw_heatmaps(maps: Sequence[HeatMap], style: Style) -> Figure:
    """A figure of the heat maps: bright is better."""

    def draw(axes: Axes, number: int) -> None:
        one = maps[number]
        colours = "cividis_r" if one.low_is_bright else "cividis"
        mesh = draw_matrix(axes, one.matrix, style, colours=colours, low=one.low, high=one.high)
        colour_bar(axes, mesh, one.label)

    figure = figure_of(len(maps), draw, style, size_of([one.matrix for one in maps], style))
    finish(figure, by_panel([(one.matrix.title, one.matrix.notes) for one in maps]), style)
    return figure
