"""Bars with intervals: one column, a bar per group, the best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..display import measured
from ..errors import UserError
from ..groups import Group, aggregate, best_first, direction_of, split
from ..lines import check_protocols
from ..rows import Row, metric_names
from ..statistics import Estimate
from .columns import (
    axis_label,
    check_known,
    check_numbers,
    differing,
    estimate_of,
    intervals_note,
    name_by,
    name_with,
    names_of,
    only,
    protocol_of,
    title_of,
    untrained,
)
from .layout import by_panel, figure_of, finish
from .style import COLOURS, REFERENCE, Style, drawable, plain_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PITCH = 2.1  # of bars, in heights of the text
_ROOM = 5.5  # above and below them, for the title and the axis


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A group's name and value; `untrained` where its tokenizer has no parameters, as codecs have none."""

    name: str
    value: Estimate
    untrained: bool


@dataclass(frozen=True, kw_only=True)
class BarPanel:
    """The bars of a suite's data set, with the axis' text and the notes on what is drawn."""

    title: str
    label: str
    notes: tuple[str, ...]
    bars: tuple[Bar, ...]

    @property
    def wide(self) -> bool:
        """Whether a logarithmic axis shows the values better: they are positive and span a factor of 30 or more."""
        values = [bar.value.value for bar in self.bars]
        return min(values) > 0 and max(values) >= 30 * min(values)


def bar_panels(table: Sequence[Row], *, y: str, group: str | Sequence[str] | None = None) -> list[BarPanel]:
    """A panel per suite and data set that has the column. Raises UserError as `results.plot.plot` does."""
    names = None if group is None else names_of(group)
    check_known(table, [("--y", y), *(("--group", name) for name in names or ())])
    check_numbers(table, [("--y", y)])
    drawn = [_panel(having, y, names) for groups in split(aggregate(table)) if (having := _having(groups, y))]
    if not drawn:
        raise UserError(f"no cell has a number in {y}")
    return drawn


def _having(groups: Sequence[Group], y: str) -> list[Group]:
    return [group for group in groups if group.mean(y) is not None]


def _panel(groups: Sequence[Group], y: str, names: Sequence[str] | None) -> BarPanel:
    is_metric = y in metric_names(row for group in groups for row in group.rows)
    check_protocols(groups, [y] if is_metric else [])
    options = differing(groups)
    by_name: dict[str, list[Group]] = {}
    for group in groups:
        name = name_by(group, names) if names is not None else name_with(group, options)
        by_name.setdefault(name, []).append(group)
    bars = []
    for name, alike in by_name.items():
        member = only(alike, f"{name!r}", (y,), names or ["label"])
        value = estimate_of(member, y)
        assert value is not None  # `_having`
        bars.append(Bar(name=name, value=value, untrained=untrained([member])))
    bars = best_first(bars, lambda bar: bar.value.value, descending=direction_of(groups, y) == "higher")
    notes = [
        protocol_of(groups, y) if is_metric else "",
        intervals_note([bar.value for bar in bars], "lines across the ends of bars"),
    ]
    if any(bar.untrained for bar in bars):
        notes.append("grey: no trained parameters")
    return BarPanel(
        title=title_of(groups[0]),
        label=axis_label(groups, y),
        notes=tuple(note for note in notes if note),
        bars=tuple(bars),
    )


def draw_bars(panels: Sequence[BarPanel], style: Style, *, log: str) -> Figure:
    """A figure of the panels. On a logarithmic axis (where told, or "auto" and the values call for it) there are marks
    alone: a bar has no foot there."""
    heights = [(len(panel.bars) * _PITCH + _ROOM) * style.text / 72 for panel in panels]

    def draw(axes: Axes, number: int) -> None:
        panel = panels[number]
        positive = min(bar.value.value for bar in panel.bars) > 0
        if not positive and log in ("x", "xy"):
            raise UserError(f"--log {log}: {panel.title} has values that no logarithmic axis has")
        _draw_panel(axes, panel, style, logarithmic=log in ("x", "xy") or (log == "auto" and panel.wide))

    figure = figure_of(len(panels), draw, style, style.alone, heights)
    finish(figure, by_panel([(panel.title, panel.notes) for panel in panels]), style)
    return figure


def _draw_panel(axes: Axes, panel: BarPanel, style: Style, *, logarithmic: bool) -> None:
    places = [float(-i) for i in range(len(panel.bars))]
    values = [bar.value.value for bar in panel.bars]
    colours = [REFERENCE if bar.untrained else COLOURS[0] for bar in panel.bars]
    floor = min(values) / 3 if logarithmic else None
    if not logarithmic:
        axes.barh(places, values, height=0.7, color=colours, alpha=0.35)
    for place, bar, colour in zip(places, panel.bars, colours, strict=True):
        low, high = _ends(bar.value, floor)
        axes.plot([low, high], [place, place], color=colour, linewidth=style.line, solid_capstyle="butt")
        axes.plot([bar.value.value], [place], color=colour, marker="o", markersize=0.8 * style.mark)
        axes.annotate(
            " ± ".join(text for text in measured(bar.value.value, bar.value.half) if text),
            (max(high, bar.value.value if logarithmic else 0.0), place),
            (0.8 * style.mark, 0),
            textcoords="offset points",
            va="center",
            fontsize=0.8 * style.text,
            color="0.25",
        )
    if logarithmic:
        axes.set_xscale("log")
    axes.margins(x=0.02)
    _room_for_numbers(axes, logarithmic=logarithmic)
    plain_ticks(axes.xaxis, logarithmic=logarithmic)
    axes.set_yticks(places, [drawable(bar.name, 36) for bar in panel.bars])
    axes.set_ylim(places[-1] - 0.6, 0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x", alpha=0.3, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_title(drawable(panel.title, 60))
    axes.set_xlabel(drawable(panel.label, 60))
    if not logarithmic:
        axes.axvline(0, color="0.3", linewidth=0.5)


def _ends(value: Estimate, floor: float | None) -> tuple[float, float]:
    low = value.value if value.low is None else value.low
    return (low if floor is None else max(low, floor)), (value.value if value.high is None else value.high)


def _room_for_numbers(axes: Axes, *, logarithmic: bool) -> None:
    """More of the axis to the right, where the numbers stand."""
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * (high / low) ** 0.3 if logarithmic else high + 0.3 * (high - low))
