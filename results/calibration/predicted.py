"""Predicted against measured: what a score says of families that its fit has not seen, over what their priors gave."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from ..plot import save
from ..plots.style import COLOURS, FORMATS, MARKERS, REFERENCE, STYLES, Style, drawable, plain_ticks
from .left_out import half_width
from .levels import half_widths
from .observations import Observations
from .reliability import ceiling
from .score import Score
from .text import shown

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOGARITHM = ("log ", "log_")  # how an outcome's name begins that is one
_BESIDE = 12  # families whose names stand beside the panels; those of more stand below
_LEGEND_INCHES, _LINE_INCHES = 1.6, 0.19  # of a name there


@dataclass(frozen=True, kw_only=True)
class Point:
    """A tokenizer: predicted by a fit without its family, and measured with half of a 95 % interval, as the outcome is
    given."""

    family: str
    predicted: float
    measured: float
    half: float


def check_format(out: Path) -> None:
    """Raises UserError for the name of a file that no picture can have."""
    if out.suffix.lower() not in FORMATS:
        raise UserError(f"--plot {out}: the file's name must end in {', '.join(FORMATS)}")


def draw_predicted(score: Score, tables: Sequence[Observations], out: Path) -> Path:
    """Draw a panel per table that the score was fitted on, and return the file. Raises UserError for a name of another
    format, and a file that can't be written."""
    check_format(out)
    save(lambda style: _figure(score, tables, style), out, STYLES["paper"], salt="predicted")
    return out


def points(score: Score, tables: Sequence[Observations]) -> Iterator[list[Point]]:
    """The tokenizers of each table. An interval is Student's over seeds, with one variance for all tokenizers of the
    table; 0 where no tokenizer has two."""
    rest = iter(score.left_out)
    for table in tables:
        centre, deviation = _scale(table)
        bars = half_widths([np.array(item.outcome) for item in table.items])
        yield [
            Point(
                family=item.family if table.families > 1 else item.name,
                predicted=centre + deviation * row.predicted,
                measured=item.mean,
                half=half,
            )
            for item, half, row in zip(table.items, bars.tolist(), rest, strict=False)
        ]


def _scale(table: Observations) -> tuple[float, float]:
    """What a prediction of 0 means, and one of 1 more, in the table's own outcome."""
    means = np.array([item.mean for item in table.items])
    return float(means.mean()), (-1.0 if table.direction == "higher" else 1.0) * (float(means.std()) or 1.0)


def _figure(score: Score, tables: Sequence[Observations], style: Style) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    wide, high = style.panel(len(tables))
    drawn = list(points(score, tables))
    families = list(dict.fromkeys(point.family for of in drawn for point in of))
    below = len(families) > _BESIDE
    columns = max(1, int(wide * len(tables) / _LEGEND_INCHES)) if below else 1
    more = 0.6 + _LINE_INCHES * math.ceil(len(families) / columns) if below else 0.0
    figure = Figure(figsize=(wide * len(tables), high + 0.5 + more), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (table, of) in enumerate(zip(tables, drawn, strict=True), 1):
        axes = figure.add_subplot(1, len(tables), place)
        _panel(axes, score, table, of, families, style)
        if len(tables) > 1:
            axes.set_title(drawable(table.title, 50))
    if len(families) <= len(COLOURS) * len(MARKERS):
        handles: dict[str, Artist] = {}
        for axes in figure.axes:
            artists, labels = axes.get_legend_handles_labels()
            handles |= dict(zip(map(str, labels), artists, strict=True))
        figure.legend(
            [*handles.values()],
            [*handles],
            loc="outside lower center" if below else "outside right upper",
            title="family, left out in turn",
            ncols=columns,
        )
    note = figure.suptitle if below else figure.supxlabel  # where the names leave room
    note(_footnote(score, tables), fontsize=style.notes, color=REFERENCE)
    return figure


def _panel(
    axes: Axes, score: Score, table: Observations, of: Sequence[Point], families: Sequence[str], style: Style
) -> None:
    logarithmic = table.outcome.startswith(_LOGARITHM)
    shown_as: Callable[[float], float] = math.exp if logarithmic else float
    for number, family in enumerate(families):
        members = [point for point in of if point.family == family]
        if not members:
            continue
        low, middle, high = (
            [shown_as(point.measured + side * point.half) for point in members] for side in (-1.0, 0.0, 1.0)
        )
        axes.errorbar(
            [shown_as(point.predicted) for point in members],
            middle,
            yerr=[np.subtract(middle, low), np.subtract(high, middle)],
            linestyle="none",
            marker=MARKERS[number % len(MARKERS)],
            color=COLOURS[number % len(COLOURS)],
            markersize=style.mark,
            elinewidth=0.6 * style.line,
            label=f"\u200b{drawable(family, 40)}",  # matplotlib leaves labels out that begin with an underscore
        )
    _lines(axes, score, table, of, shown_as)
    if logarithmic:
        axes.set_xscale("log")
        axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        plain_ticks(axis, logarithmic=logarithmic)
    name = table.outcome[len(_LOGARITHM[0]) :] if logarithmic else table.outcome
    axes.set_ylabel(drawable(f"measured {name} ({table.direction} is better)", 44))
    axes.set_xlabel("predicted by a score fitted\nto the other families")
    axes.grid(True, alpha=0.3, linewidth=0.5)


def _lines(
    axes: Axes, score: Score, table: Observations, of: Sequence[Point], shown_as: Callable[[float], float]
) -> None:
    """Where the predicted is what was measured, and the band that holds 95 % of the tokenizers of new families."""
    ends = [end for p in of for end in (p.predicted, p.measured - p.half, p.measured + p.half)]
    edge = 0.05 * (max(ends) - min(ends)) or 0.05
    across = np.linspace(min(ends) - edge, max(ends) + edge, 50)
    half = (half_width(score) or 0.0) * abs(_scale(table)[1])
    x = [shown_as(value) for value in across]
    axes.fill_between(
        x,
        [shown_as(value - half) for value in across],
        [shown_as(value + half) for value in across],
        color=REFERENCE,
        alpha=0.12,
        linewidth=0,
        zorder=0,
    )
    axes.plot(x, x, color=REFERENCE, linestyle="--", linewidth=1, zorder=1)
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(x[0], x[-1])


def _footnote(score: Score, tables: Sequence[Observations]) -> str:
    limits = [ceiling("overall", "spearman", table.complete()) for table in tables]
    allowed = ", ".join(f"{limit.attainable:.2f}".lstrip("0") for limit in limits if limit is not None)
    ranks = shown(score.families.spearman) or "none"
    lines = [
        f"Spearman's ρ {ranks}"
        + (f" (the outcome's noise allows {allowed})" if allowed else "")
        + f", {100 * score.families.explained:.0f} % of the variance explained, on families left out.",
        "Dashed: as predicted. Band: where 95 % of new families' tokenizers should lie. Bars: 95 % over seeds.",
    ]
    return "\n".join(lines)
