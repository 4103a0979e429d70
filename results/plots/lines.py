"""Lines of points with intervals, their names beside them where these fit, else in a legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..statistics import Estimate
from .labels import place_labels
from .layout import by_panel, figure_of, finish
from .panels import Line, Panel
from .style import COLOURS, DASHES, MARKERS, REFERENCE, Style, drawable, plain_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# How far a logarithmic axis goes below its lowest value for an interval's sake; what goes further is cut, and marked.
_BELOW = 3.0


def draw_lines(panels: Sequence[Panel], scales: tuple[bool, bool], style: Style, *, references: bool) -> Figure:
    """A figure of the panels; `scales` says which axes are logarithmic. With `references`, lines of untrained
    tokenizers are dashed and grey. A line has one look in all panels."""
    looks = _looks(panels, references)
    handles: list[dict[str, Any]] = [{} for _ in panels]

    def draw(axes: Axes, number: int) -> None:
        handles[number] = _draw_panel(axes, panels[number], looks, scales, style)

    figure = figure_of(len(panels), draw, style)
    notes = by_panel([(panel.title, panel.notes) for panel in panels])
    if scales[1] and any(
        _cut(point.y, _floor(panel)) for panel in panels for line in panel.lines for point in line.points
    ):
        notes.append("▾: the interval goes on below")
    if not place_labels(figure, [_named(panel, looks) for panel in panels], style):
        finish(figure, notes, style, {label: handle for drawn in handles for label, handle in drawn.items()})
    else:
        finish(figure, notes, style)
    return figure


def _looks(panels: Sequence[Panel], references: bool) -> dict[str, dict[str, Any]]:
    """How each line is drawn, by its label."""
    untrained = {line.label: line.untrained for panel in panels for line in panel.lines}
    looks: dict[str, dict[str, Any]] = {}
    codecs = trained = 0
    for label, is_codec in untrained.items():
        if references and is_codec:
            looks[label] = {
                "color": REFERENCE,
                "linestyle": DASHES[codecs % len(DASHES)],
                "marker": MARKERS[codecs % len(MARKERS)],
                "markerfacecolor": "white",
                "zorder": 1.5,
            }
            codecs += 1
        else:
            looks[label] = {"color": COLOURS[trained % len(COLOURS)], "marker": MARKERS[trained % len(MARKERS)]}
            trained += 1
    return looks


def _named(panel: Panel, looks: Mapping[str, dict[str, Any]]) -> list[tuple[str, str, list[tuple[float, float]]]]:
    """Each line's label with its colour and points."""
    return [(line.label, looks[line.label]["color"], [(p.x, p.y.value) for p in line.points]) for line in panel.lines]


def _draw_panel(
    axes: Axes, panel: Panel, looks: Mapping[str, dict[str, Any]], scales: tuple[bool, bool], style: Style
) -> dict[str, Any]:
    """Draw the lines and return what stands for each in a legend."""
    floor = _floor(panel) if scales[1] else None
    handles = {line.label: _draw_line(axes, line, looks[line.label], floor, style) for line in panel.lines}
    for axis, logarithmic, set_scale in zip(
        (axes.xaxis, axes.yaxis), scales, (axes.set_xscale, axes.set_yscale), strict=True
    ):
        if logarithmic:
            set_scale("log")
        plain_ticks(axis, logarithmic=logarithmic)
    axes.set_title(drawable(panel.title, 60))
    axes.set_xlabel(drawable(panel.x_label, 60))
    axes.set_ylabel(drawable(panel.y_label, 40))
    axes.grid(True, alpha=0.3, linewidth=0.5)
    return handles


def _draw_line(axes: Axes, line: Line, look: dict[str, Any], floor: float | None, style: Style) -> Any:
    places, estimates = [point.x for point in line.points], [point.y for point in line.points]
    ends = [
        (_low(estimate, floor), estimate.value if estimate.high is None else estimate.high) for estimate in estimates
    ]
    bars = [
        [estimate.value - low for estimate, (low, _) in zip(estimates, ends, strict=True)],
        [high - estimate.value for estimate, (_, high) in zip(estimates, ends, strict=True)],
    ]
    cut = [
        (x, floor) for x, estimate in zip(places, estimates, strict=True) if floor is not None and _cut(estimate, floor)
    ]
    if cut:
        axes.plot(
            *zip(*cut, strict=True), linestyle="none", marker="v", markersize=0.8 * style.mark, color=look["color"]
        )
    values = [estimate.value for estimate in estimates]
    dotted = {"linestyle": ":"} if line.ends else {}
    for start, end in zip((0, *line.ends), (*line.ends, len(places)), strict=True) if line.ends else ():
        axes.plot(places[start:end], values[start:end], linewidth=style.line, color=look["color"])
    return axes.errorbar(
        places,
        values,
        yerr=bars,
        markersize=style.mark,
        capsize=0.5 * style.mark,
        linewidth=style.line,
        elinewidth=0.6 * style.line,
        **look | dotted,
    )


def _floor(panel: Panel) -> float:
    """Where intervals end on a logarithmic axis at the latest."""
    return min(point.y.value for line in panel.lines for point in line.points) / _BELOW


def _cut(estimate: Estimate, floor: float) -> bool:
    return estimate.low is not None and estimate.low < floor


def _low(estimate: Estimate, floor: float | None) -> float:
    if estimate.low is None:
        return estimate.value
    return estimate.low if floor is None else max(estimate.low, floor)
