"""Scatter plots of a calibration: the outcome over each proxy, families by colour, error bars over seeds."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from ..output_file import output_file
from ..plots.style import COLOURS, FORMATS, MARKERS, STYLE, drawable
from .correlation import Array
from .levels import half_widths
from .report import Calibration, ProxyReport
from .text import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANELS = 12  # of a picture: the best proxies, then baselines
_BARS = "Bars: 95 % over seeds, Student's t with one variance for all tokenizers"


def draw(calibrations: Sequence[Calibration], out: Path) -> list[Path]:
    """Draw a picture per calibration and return the files: `out`, and `<name>-2` and so on where there are more.

    Each panel is a proxy, the best twelve first. Points are tokenizers; bars are the 95 % interval of the mean outcome
    over seeds, by one variance for all tokenizers (`levels.half_widths`), as the picture says. Raises UserError for a
    name of another format, and a file that can't be written.
    """
    if out.suffix.lower() not in FORMATS:
        raise UserError(f"--plot {out}: the file's name must end in {', '.join(FORMATS)}")
    import matplotlib as mpl

    files = []
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a glyph that no font has is drawn as a box
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE | {"svg.hashsalt": "calibration"})
        for number, calibration in enumerate(calibrations, 1):
            path = out if number == 1 else out.with_stem(f"{out.stem}-{number}")
            _draw(calibration, path)
            files.append(path)
    return files


def _draw(calibration: Calibration, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [report for report in calibration.proxies if report.n > 2][:_PANELS]
    wide = min(4, max(1, len(shown)))
    high = -(-len(shown) // wide)
    figure = Figure(figsize=(3.1 * wide, 2.7 * high + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    items = calibration.observations.items
    bars = half_widths([np.array(item.outcome) for item in items])
    families = list(dict.fromkeys(item.family for item in items))
    grouped = 1 < len(families) <= len(COLOURS)
    for place, report in enumerate(shown, 1):
        axes = figure.add_subplot(high, wide, place)
        _panel(axes, calibration, report, families if grouped else [], bars)
        if place % wide == 1 or wide == 1:
            axes.set_ylabel(drawable(calibration.observations.outcome))
    if grouped and shown:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
    said = f"\n{_BARS}" if bars.any() else ""
    figure.suptitle(drawable(calibration.observations.title) + said, fontsize=9)
    date = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix.lower())
    with output_file(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lower()[1:], metadata=date, dpi=140)


def _panel(axes: Axes, calibration: Calibration, report: ProxyReport, families: Sequence[str], bars: Array) -> None:
    observations = calibration.observations
    places = {family: i for i, family in enumerate(families)}
    for family in families or [""]:
        points = [
            (value, item.mean, half)
            for item, half in zip(observations.items, bars.tolist(), strict=True)
            if family in ("", item.family) and (value := observations.value(item, report.predictor.name)) is not None
        ]
        if not points:
            points = [(math.nan, math.nan, 0.0)]  # it stands in the legend all the same
        colour = places.get(family, 0)
        axes.errorbar(
            [x for x, _, _ in points],
            [y for _, y, _ in points],
            yerr=[half for _, _, half in points],
            linestyle="none",
            marker=MARKERS[colour % len(MARKERS)],
            color=COLOURS[colour % len(COLOURS)],
            markersize=5,
            elinewidth=1,
            label=f"\u200b{drawable(family)}",  # matplotlib leaves labels out that begin with an underscore
        )
    overall = report.correlations.get(("spearman", "overall"))
    title = report.predictor.name + (" (baseline)" if report.predictor.baseline else "")
    if overall is not None:
        title += f"\nρ = {shown(overall)}"
    axes.set_title(drawable(title), fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(True, alpha=0.3, linewidth=0.5)
