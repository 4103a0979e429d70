"""Plots of finished runs: one column against another, a line per group, mean and 95 % interval over seeds."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from .columns import depends_on_count, rate_of
from .comparable import incomparable
from .display import show
from .errors import UserError, unknown
from .filters import select
from .groups import Group, aggregate, check_protocols, detail, direction_of, measurements, sample_counts, split
from .notes import ARROWS
from .rows import Row, axis_column, column_names, is_number, metric_names, rows
from .statistics import Estimate, mean_interval
from .store import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Log = Literal["auto", "none", "x", "y", "xy"]
FORMATS = (".png", ".svg", ".pdf")

_MORE_UNITS = {"bits_per_sample": "bit", "bits_per_element": "bit", "bitrate": "bit/s", "peak_memory_bytes": "bytes"}
# Okabe and Ito's colours, which the colour-blind can distinguish too; markers distinguish lines in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MARKERS = "osD^vP*X"
# Labels are anybody's: a dollar is a dollar, and no program sets text.
STYLE: dict[Any, Any] = {"svg.fonttype": "none", "font.size": 9, "text.usetex": False, "text.parse_math": False}


@dataclass(frozen=True, kw_only=True)
class Point:
    """One group of cells that differ in their seed alone: its place, and y with its interval."""

    x: float
    y: Estimate


@dataclass(frozen=True, kw_only=True)
class Line:
    """The points of one line of the plot, by ascending x."""

    label: str
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes: a suite's data set, with the texts of its axes."""

    title: str
    x_label: str
    y_label: str
    protocol: str
    lines: tuple[Line, ...]


def plot(
    dirs: Sequence[Path | str],
    *,
    y: str,
    x: str | None = None,
    group: str | Sequence[str] = "label",
    where: str | Sequence[str] | None = None,
    log: str = "auto",
    out: Path | str | None = None,
) -> Path:
    """Draw column `y` over column `x` of the runs in `dirs` and return the file (`out`, default `<y>-over-<x>.svg`).

    Without `x` each panel has the real rate across, in its modality's unit.

    A line per value of the columns `group`, a panel per suite and data set; points are means over seeds, bars their
    95 % intervals (with one seed, the interval within the run). `log` names logarithmic axes; "auto" takes those of
    FLOPs and those whose points are positive and span a factor of 30 or more. Raises UserError for unknown columns,
    text where numbers are wanted, two protocols of one metric, points that only a column outside `group` tells apart,
    and a file that can't be written.
    """
    across = x if x is not None else "rate"
    path = Path(out) if out is not None else Path(f"{y}-over-{across}.svg")
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"--out {path}: the file's name must end in {', '.join(FORMATS)}")
    if log not in get_args(Log):
        raise unknown("choice of logarithmic axes", log, get_args(Log), where="--log")
    drawn = panels(select(rows(dirs), where), x=x, y=y, group=group)
    scales = tuple(
        axis in log or (log == "auto" and _spans(drawn, axis, name)) for axis, name in (("x", across), ("y", y))
    )
    import matplotlib as mpl

    # Text stays text in SVG. No date and fixed ids: the same records give the same bytes.
    date = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix.lower())
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a glyph that no font has is drawn as a box
        mpl.rcdefaults()  # nobody's matplotlibrc changes a picture, or starts a program for it
        mpl.rcParams.update(STYLE | {"svg.hashsalt": f"{across} {y}"})
        figure = _draw(drawn, scales)
        with atomic_file(path) as temporary:
            figure.savefig(temporary, format=path.suffix.lower()[1:], metadata=date, dpi=160)
    return path


def _spans(drawn: Sequence[Panel], axis: str, name: str) -> bool:
    """Whether an axis is better logarithmic: FLOPs, and positive values of very different sizes."""
    points = [point for panel in drawn for line in panel.lines for point in line.points]
    values = [point.x if axis == "x" else point.y.value for point in points]
    return name.endswith("flops") or (min(values) > 0 and max(values) >= 30 * min(values))


def panels(table: Sequence[Row], *, y: str, x: str | None = None, group: str | Sequence[str] = "label") -> list[Panel]:
    """What is drawn: a panel per suite and data set that has both columns. Raises UserError as `plot` does."""
    known = column_names(table)
    names = [name.strip() for name in (group.split(",") if isinstance(group, str) else group)]
    axes = [(option, name) for option, name in (("--x", x), ("--y", y)) if name is not None]
    for option, name in (*axes, *(("--group", name) for name in names)):
        if name not in known:
            raise unknown("column", name, known, where=option)
    for option, name in axes:
        values = [row[name] for row in table if row.get(name) is not None]
        if values and not any(is_number(value) for value in values):
            raise UserError(f"{option} {name}: expected a column of numbers, and this one has {show(values[0])!r}")
    drawn = []
    for groups in split(aggregate(table)):
        across = x if x is not None else rate_of(groups)
        if across is not None and (panel := _panel(groups, across, y, names)) is not None:
            drawn.append(panel)
    if not drawn and x is None:
        raise UserError(f"no cell has a number in {y} and a real rate; name another column with --x")
    if not drawn:
        raise UserError(f"no cell has a number in both {x} and {y}")
    return drawn


def _panel(groups: Sequence[Group], x: str, y: str, names: Sequence[str]) -> Panel | None:
    metrics = metric_names(row for group in groups for row in group.rows)
    check_protocols(groups, [name for name in (x, y) if name in metrics])
    places: dict[str, dict[float, list[Group]]] = {}
    for group in groups:
        place = group.mean(x)
        if place is not None and group.mean(y) is not None:
            line = ", ".join(_named(group, name, names[0]) for name in names)
            places.setdefault(line, {}).setdefault(place, []).append(group)
    drawn = {
        line: {place: _only(alike, line, place, x, names) for place, alike in by_x.items()}
        for line, by_x in places.items()
    }
    lines = tuple(
        Line(
            label=label,
            points=tuple(Point(x=place, y=_estimate(group, y, y in metrics)) for place, group in sorted(by_x.items())),
        )
        for label, by_x in drawn.items()
    )
    if not lines:
        return None
    first = groups[0]
    protocols = [_protocol(groups, name) for name in (y, x) if name in metrics]
    for name, other in ((x, y), (y, x)):
        absent = [group.title for group in groups if group.mean(name) is None and group.mean(other) is not None]
        if absent:
            protocols.append(f"not drawn, without a value of {name}: {', '.join(dict.fromkeys(absent))}")
    return Panel(
        title=f"{first.suite} · {first.dataset} ({first.modality})",
        x_label=_label(groups, x),
        y_label=_label(groups, y),
        protocol="\n".join(text for text in protocols if text),
        lines=lines,
    )


def _named(group: Group, name: str, first: str) -> str:
    """The group's part of a line's name: the value, with its column where it is not the first one."""
    value = group.label if name == "label" else show(group.common(name))
    return value if name == first else f"{name} {value}"


def _only(alike: Sequence[Group], line: str, place: float, x: str, names: Sequence[str]) -> Group:
    """The one group at a place of a line. Raises UserError where there are more, with what tells them apart."""
    if len(alike) == 1:
        return alike[0]
    axes = dict.fromkeys(axis for group in alike for axis in group.axes)
    columns = {axis_column(axis): [show(group.axes.get(axis)) for group in alike] for axis in axes}
    columns |= {name: [getattr(group, name) for group in alike] for name in ("recipe", "label")}
    more = [name for name, values in columns.items() if len(set(values)) > 1 and name not in (x, *names)]
    hint = f"; tell them apart with --group {','.join([*names, *more])}" if more else ""
    raise UserError(f"{len(alike)} points of {line!r} lie at {x} = {place:g}{hint}")


def _estimate(group: Group, name: str, is_metric: bool) -> Estimate:
    if is_metric:
        estimate = group.estimate(name)
        assert estimate is not None  # a group without a value is not drawn
        return estimate
    return mean_interval(list(group.values(name).values()))


def _label(groups: Sequence[Group], name: str) -> str:
    """The column's name with the samples that it was measured on, the direction that is better, and its unit."""
    metric = detail(groups, name)
    if metric is None:
        unit = "FLOPs" if name.endswith("flops") else "s" if name.endswith("seconds") else _MORE_UNITS.get(name, "")
        return f"{name} [{unit}]" if unit else name
    shown = name + (sample_counts(groups, name) if depends_on_count(groups, name) else "")
    arrow = "" if incomparable(groups, name) else ARROWS[direction_of(groups, name)]
    return " ".join(part for part in (shown, f"[{metric.unit}]" if metric.unit else "", arrow) if part)


def _protocol(groups: Sequence[Group], name: str) -> str:
    """The column's protocol; those of a rate, which lines may have by several estimates, each with its recipes."""
    recipes: dict[str, list[str]] = {}
    for group, metric in measurements(groups, name):
        recipes.setdefault(metric.protocol, []).append(group.title)
    if len(recipes) < 2:
        return next((f"{name}: {protocol}" for protocol in recipes if protocol), "")
    parts = [f"{protocol} ({', '.join(dict.fromkeys(lines))})" for protocol, lines in recipes.items()]
    return f"{name}: {'; '.join(parts)}"


def _draw(drawn: Sequence[Panel], scales: Sequence[bool]) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    wide = min(2, len(drawn))
    high = -(-len(drawn) // wide)
    figure = Figure(figsize=(7.6 * wide, 4.8 * high), layout="constrained")
    FigureCanvasAgg(figure)
    for number, panel in enumerate(drawn, start=1):
        _draw_panel(figure.add_subplot(high, wide, number), panel, scales)
    return figure


def _draw_panel(axes: Axes, panel: Panel, scales: Sequence[bool]) -> None:
    handles = []
    for number, line in enumerate(panel.lines):
        places, estimates = [p.x for p in line.points], [p.y for p in line.points]
        bars = [
            [0.0 if e.low is None else e.value - e.low for e in estimates],
            [0.0 if e.high is None else e.high - e.value for e in estimates],
        ]
        handles.append(
            axes.errorbar(
                places,
                [e.value for e in estimates],
                yerr=bars,
                color=COLOURS[number % len(COLOURS)],
                marker=MARKERS[number % len(MARKERS)],
                markersize=5,
                capsize=3,
                linewidth=1.5,
                elinewidth=1,
            )
        )
    if scales[0]:
        axes.set_xscale("log")
        _plain_ticks(axes.xaxis)
    if scales[1]:
        axes.set_yscale("log", nonpositive="clip")
        _plain_ticks(axes.yaxis)
    axes.set_title(drawable(panel.title), fontsize=10)
    seeds = sorted({p.y.n for line in panel.lines for p in line.points})
    counts = "–".join(dict.fromkeys(map(str, (seeds[0], seeds[-1]))))
    spread = f"over {counts} seeds" if seeds[-1] > 1 else "within the run (one seed)"
    bars_are = f"bars: 95 % interval {spread}"
    below = "\n".join(textwrap.fill(part, 100) for part in [*panel.protocol.split("\n"), bars_are] if part)
    axes.set_xlabel(drawable(panel.x_label))
    axes.annotate(
        drawable(below),
        (0, 0),
        (0, -38),
        xycoords="axes fraction",
        textcoords="offset points",
        va="top",
        fontsize=6.5,
        color="0.35",
    )
    axes.set_ylabel(drawable(panel.y_label))
    axes.grid(True, alpha=0.3, which="both", linewidth=0.5)
    # beside the picture: inside, with many lines, it hides points
    # Named here: matplotlib leaves out labels of its own that begin with an underscore.
    labels = [drawable(line.label) for line in panel.lines]
    axes.legend(handles, labels, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)


def _plain_ticks(axis: Axis) -> None:
    """Numbers on a logarithmic axis as they are: its own labels are mathematics, which nothing sets here."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0,) if high >= 1000 * low else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def drawable(text: str) -> str:
    """A text without what no file of a picture can hold (control characters, parts of characters); long lines wrap."""
    visible = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
    return "\n".join(textwrap.fill(line, 100) for line in visible.split("\n"))
