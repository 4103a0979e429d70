"""Names beside points hide nothing, or there are none."""

from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from latentbench.results.plots.labels import place_labels
from latentbench.results.plots.style import STYLES

Places = dict[str, list[tuple[float, float]]]


def placed(lines: Places) -> tuple[Figure, bool]:
    figure = Figure(figsize=(5, 3))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for points in lines.values():
        axes.plot(*zip(*points, strict=True), marker="o")
    named = [(label, "#0072B2", points) for label, points in lines.items()]
    return figure, place_labels(figure, [named], STYLES["paper"])


def test_names_hide_no_point_and_no_other_name() -> None:
    draw = np.random.default_rng(0)
    lines = {f"line {i}": [(float(x), float(i + 0.3 * draw.normal())) for x in range(4)] for i in range(5)}
    figure, fits = placed(lines)
    assert fits
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 5
    points = axes.transData.transform([point for line in lines.values() for point in line])
    for i, box in enumerate(boxes):
        assert not any(box.contains(x, y) for x, y in points)
        assert not any(box.overlaps(other) for other in boxes[:i])
        assert axes.bbox.contains(box.x0, box.y0)
        assert axes.bbox.contains(box.x1, box.y1)


def test_where_one_does_not_fit_there_is_none() -> None:
    for lines in ({str(i): [(0.0, 0.0)] for i in range(6)}, {"a": [(0.0, 1.0)], "x" * 40: [(1.0, 0.0)]}):
        figure, fits = placed(lines)
        assert not fits
        assert not figure.axes[0].texts
