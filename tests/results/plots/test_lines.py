"""Lines and the curves of codecs: what is drawn inside the axes and the figure, and that each line has its own look."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from latentbench.results.plots.lines import draw_lines
from latentbench.results.plots.panels import Line, Panel, Point, panels
from latentbench.results.plots.style import COLOURS, MARKERS, REFERENCE, STYLES
from latentbench.results.rows import rows
from latentbench.results.statistics import Estimate


def panel(lines: dict[str, list[tuple[float, float, float, float]]]) -> Panel:
    """A panel of lines, each a list of x, value, low and high."""
    drawn = tuple(
        Line(label=label, points=tuple(Point(x=x, y=Estimate(value=v, low=a, high=b, n=1)) for x, v, a, b in points))
        for label, points in lines.items()
    )
    return Panel(title="t", x_label="x", y_label="y", notes=("a note " * 40,), lines=drawn)


def drawn(*panels: Panel, scales: tuple[bool, bool] = (False, False), style: str = "paper") -> Figure:
    with mpl.rc_context():
        mpl.rcParams.update(STYLES[style].settings)
        figure = draw_lines(panels, scales, STYLES[style], references=False)
        figure.draw_without_rendering()
    return figure


def test_codecs_are_reference_curves_and_lines_have_their_names_beside_them(curves: Path) -> None:
    (one,) = panels(rows([curves]), y=None)
    assert [(line.label, line.untrained) for line in one.lines] == [("jpeg", True), ("kl-vae", False)]
    assert (one.x_label, one.y_label) == ("rate (bpp) ↓", "PSNR (dB) ↑")
    figure = draw_lines([one], (False, False), STYLES["paper"], references=True)
    (axes,) = figure.axes
    assert not figure.legends
    assert [text.get_text() for text in axes.texts] == ["jpeg", "kl-vae"]
    looks = {(c.lines[0].get_color(), c.lines[0].get_linestyle()) for c in axes.containers}
    assert looks == {(REFERENCE, "--"), (COLOURS[0], "-")}


@pytest.mark.parametrize("style", ["paper", "slides"])
def test_everything_is_inside_the_figure(style: str) -> None:
    many = {
        f"a line with a long name, of which there are many, {i}": [(i, 1.0, 0.5, 2.0), (i + 1, 2.0, 1.0, 9.0)]
        for i in range(12)
    }
    figure = drawn(panel(many), panel(many), style=style)
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 12
    width, height = figure.bbox.size
    boxes = [legend.get_window_extent(), *(text.get_window_extent() for text in figure.texts)]
    boxes += [axes.get_tightbbox() for axes in figure.axes]
    for box in boxes:
        assert min(box.x0, box.y0) >= -1
        assert max(box.x1 - width, box.y1 - height) <= 1
    below = legend.get_window_extent()
    assert below.y0 >= figure.texts[0].get_window_extent().y1 - 1
    assert below.y1 <= min(axes.get_tightbbox().y0 for axes in figure.axes) + 1


def test_an_interval_that_runs_off_a_logarithmic_axis_is_cut_and_marked() -> None:
    one = panel({"a": [(1, 10.0, -5.0, 25.0), (2, 1000.0, 900.0, 1100.0)]})
    figure = drawn(one, scales=(False, True))
    (axes,) = figure.axes
    low, _ = axes.get_ylim()
    assert 1 < low <= 10 / 3
    (bars,) = axes.collections
    ends = [path.vertices[:, 1].min() for path in bars.get_paths()]
    assert ends == pytest.approx([10 / 3, 900])
    assert "▾: the interval goes on below" in figure.texts[0].get_text()
    assert "▾" not in drawn(one).texts[0].get_text()


def test_no_two_lines_look_alike() -> None:
    assert len(COLOURS) == 8
    assert len(MARKERS) == 7
    figure = drawn(panel({str(i): [(i, i, i, i)] for i in range(56)}))
    looks = {(c.lines[0].get_color(), c.lines[0].get_marker()) for c in figure.axes[0].containers}
    assert len(looks) == 56
