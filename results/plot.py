"""Pictures of finished runs: lines, bars, rate over distortion, heat maps and correlations, for paper and slides."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from .errors import UserError, unknown
from .filters import select
from .output_file import output_file
from .plots.panels import Panel, panels
from .plots.style import FORMATS, STYLES, Style
from .rows import Row, rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = Literal["lines", "rate-distortion", "bars", "heatmap", "correlation", "frames"]
Log = Literal["auto", "none", "x", "y", "xy"]


def plot(
    dirs: Sequence[Path | str],
    *,
    y: str | None = None,
    x: str | None = None,
    colour: str | None = None,
    group: str | Sequence[str] | None = None,
    where: str | Sequence[str] | None = None,
    kind: str = "lines",
    log: str = "auto",
    style: str = "paper",
    out: Path | str | None = None,
) -> Path:
    """Draw columns of the runs in `dirs` and return the file (`out`, by default named for what it shows).

    Of any `kind` there is a panel per suite and data set; values are means over seeds, bars their 95 % intervals (with
    one seed, the interval within the run).

    - "lines": `y` over `x` (the real rate unless told), a line per value of the columns `group` (the label);
    - "rate-distortion": the same, `y` being the distortion that tables are ranked by unless told, and tokenizers
      without parameters (codecs) drawn as grey reference curves;
    - "bars": `y`, a bar per value of `group` (unless told the label and the options that differ), best first;
    - "heatmap": the column `colour` by the options `x` and `y` ("downsample" and "channels"), a panel per value of
      `group`;
    - "correlation": Spearman's rank correlations between the columns `y` (names and patterns with commas; those that
      tables show unless told) over the lines of each table;
    - "frames": the metric `y` ("psnr") at each frame of clips, a line per value of `group` (unless told the label and
      the options that differ), dotted where a latent position ends.

    `log` names logarithmic axes; "auto" takes those of FLOPs and those whose points are positive and span a factor of
    30 or more. `style` is "paper" or "slides". Raises UserError for unknown columns, text where numbers are wanted, an
    argument that the kind has no use for, two protocols of one metric, points that only a column outside `group` tells
    apart, and a file that can't be written.
    """
    if kind not in get_args(Kind):
        raise unknown("kind of plot", kind, get_args(Kind), where="--kind")
    if style not in STYLES:
        raise unknown("style", style, list(STYLES), where="--style")
    if log not in get_args(Log):
        raise unknown("choice of logarithmic axes", log, get_args(Log), where="--log")
    _check_options(kind, x=x, y=y, colour=colour, group=group, log=None if log == "auto" else log)
    path = Path(out) if out is not None else Path(_name(kind, x, y, colour))
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"--out {path}: the file's name must end in {', '.join(FORMATS)}")
    table = select(rows(dirs), where)
    drawn = _prepared(kind, table, x=x, y=y, colour=colour, group=group, log=log)
    save(drawn, path, STYLES[style], salt=f"{x or 'rate'} {y}")
    return path


def save(draw: Callable[[Style], Figure], path: Path, style: Style, *, salt: str) -> None:
    """Write what `draw` returns to `path`; the same picture of one `salt` has the same bytes."""
    import matplotlib as mpl

    # No date and fixed ids: the same records give the same bytes.
    date = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix.lower())
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a glyph that no font has is drawn as a box
        mpl.rcdefaults()  # nobody's matplotlibrc changes a picture, or starts a program for it
        mpl.rcParams.update(style.settings | {"svg.hashsalt": salt})
        figure = draw(style)
        with output_file(path) as temporary:
            figure.savefig(temporary, format=path.suffix.lower()[1:], metadata=date, dpi=style.dpi)


# What each kind takes besides folders, filters, style and file; and what it can't do without.
_TAKES = {
    "lines": ("x", "y", "group", "log"),
    "rate-distortion": ("y", "group", "log"),
    "bars": ("y", "group", "log"),
    "heatmap": ("x", "y", "colour", "group"),
    "correlation": ("y",),
    "frames": ("y", "group", "log"),
}
_NEEDS = {"lines": "y", "bars": "y", "heatmap": "colour"}


def _check_options(kind: str, **options: object) -> None:
    for name, value in options.items():
        if value is not None and name not in _TAKES[kind]:
            raise UserError(f"--kind {kind} has no use for --{name}; it takes --{', --'.join(_TAKES[kind])}")
    if kind in _NEEDS and options[_NEEDS[kind]] is None:
        raise UserError(f"--kind {kind}: name a column with --{_NEEDS[kind]}, as in --{_NEEDS[kind]} psnr")


def _name(kind: str, x: str | None, y: str | None, colour: str | None) -> str:
    if kind == "heatmap":
        return f"{colour}-heatmap.svg"
    if kind == "correlation":
        return "correlation.svg"
    if kind == "bars":
        return f"{y}-bars.svg"
    if kind == "frames":
        return f"{y or 'psnr'}-by-frame.svg"
    return f"{y}-over-{x or 'rate'}.svg" if y is not None else "rate-distortion.svg"


def _prepared(
    kind: str,
    table: Sequence[Row],
    *,
    x: str | None,
    y: str | None,
    colour: str | None,
    group: str | Sequence[str] | None,
    log: str,
) -> Callable[[Style], Figure]:
    """What draws the picture, once all that may be wrong with its columns was checked."""
    if kind == "bars":
        from .plots.bars import bar_panels, draw_bars

        assert y is not None
        bars = bar_panels(table, y=y, group=group)
        return lambda style: draw_bars(bars, style, log=log)
    if kind == "heatmap":
        from .plots.heatmap import draw_heatmaps, heatmaps

        assert colour is not None
        maps = heatmaps(table, colour=colour, x=x or "downsample", y=y or "channels", group=group or "label")
        return lambda style: draw_heatmaps(maps, style)
    if kind == "correlation":
        from .plots.correlation import correlations, draw_correlations

        related = correlations(table, columns=y)
        return lambda style: draw_correlations(related, style)
    from .plots.lines import draw_lines

    if kind == "frames":
        from .plots.frames import frame_panels

        by_frame = frame_panels(table, y=y or "psnr", group=group)
        return lambda style: draw_lines(by_frame, (False, log in ("y", "xy")), style, references=True)
    drawn = panels(table, x=x, y=y, group=group if group is not None else "label")
    scales = (_logarithmic(drawn, "x", x or "", log), _logarithmic(drawn, "y", y or "", log))
    return lambda style: draw_lines(drawn, scales, style, references=kind == "rate-distortion")


def _logarithmic(drawn: Sequence[Panel], axis: str, name: str, log: str) -> bool:
    """Whether an axis is logarithmic: where told, of FLOPs, and of positive values of very different sizes."""
    points = [point for panel in drawn for line in panel.lines for point in line.points]
    values = [point.x if axis == "x" else point.y.value for point in points]
    if min(values) <= 0:
        if axis in log:
            raise UserError(f"--log {log}: {axis} has the value {min(values):g}, which no logarithmic axis has")
        return False
    return axis in log or (log == "auto" and (name.endswith("flops") or max(values) >= 30 * min(values)))
