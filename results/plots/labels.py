"""Names beside lines: each where it hides neither points, nor lines, nor another name; or none at all."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from .style import Style, drawable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

Named = tuple[str, str, list[tuple[float, float]]]
Boxes = np.ndarray  # [N, 4]: left, bottom, right, top in pixels

_MOST = 8  # names in a panel
_LONGEST = 32  # characters
# Where a name stands from its point: the shift in marks, and how the text is aligned.
_SIDES = (
    (1, 0, "left", "center"),
    (-1, 0, "right", "center"),
    (0, 1, "center", "bottom"),
    (0, -1, "center", "top"),
    (0.7, -0.7, "left", "top"),
    (-0.7, 0.7, "right", "bottom"),
    (0.7, 0.7, "left", "bottom"),
    (-0.7, -0.7, "right", "top"),
)
_STEPS = 40  # of a segment of a line


def place_labels(figure: Figure, named: Sequence[Sequence[Named]], style: Style) -> bool:
    """Write each line's label (with its colour and points) beside one of its points, in every panel; True if all fit,
    else nothing is written."""
    if any(len(lines) > _MOST or any(len(label) > _LONGEST for label, _, _ in lines) for lines in named):
        return False
    figure.draw_without_rendering()  # so that places on the axes are places in the figure
    written: list[Annotation] = []
    for axes, lines in zip(figure.axes, named, strict=True):
        taken = _obstacles(axes, lines, style)
        for label, colour, points in lines:
            text = _place(axes, drawable(label), _dark(colour), points, taken, style)
            if text is None:
                for other in written:
                    other.remove()
                return False
            written.append(text)
            taken = np.vstack([taken, [text.get_window_extent().extents]])
    return True


def _place(
    axes: Axes, label: str, colour: str, points: Sequence[tuple[float, float]], taken: Boxes, style: Style
) -> Annotation | None:
    """The label at the first free place: at the line's ends before its middle."""
    ordered = [points[-1], points[0], *points[1:-1]] if len(points) > 1 else points
    inside = axes.get_window_extent().extents
    for point in ordered:
        for x, y, across, up in _SIDES:
            shift = (x * 1.1 * style.mark, y * 1.1 * style.mark)
            text = axes.annotate(
                label,
                point,
                shift,
                textcoords="offset points",
                ha=across,
                va=up,
                fontsize=0.9 * style.text,
                color=colour,
            )
            text.set_in_layout(False)
            left, bottom, right, top = text.get_window_extent().extents
            within = inside[0] <= left and inside[1] <= bottom and right <= inside[2] and top <= inside[3]
            apart = (taken[:, 0] > right) | (taken[:, 2] < left) | (taken[:, 1] > top) | (taken[:, 3] < bottom)
            if within and apart.all():
                return text
            text.remove()
    return None


def _obstacles(axes: Axes, lines: Sequence[Named], style: Style) -> Boxes:
    """Boxes round all points, along the lines between them, and along their intervals."""
    half = 0.5 * style.mark * axes.figure.dpi / 72
    boxes = [np.empty((0, 4))]
    for _, _, points in lines:
        places = axes.transData.transform(np.asarray(points, dtype=float))
        boxes.append(_round(places, half))
        for a, b in pairwise(places):
            boxes.append(_round(a + (b - a) * np.linspace(0, 1, _STEPS)[:, None], 0.15 * half))
    for collection in axes.collections:  # the bars
        for path in collection.get_paths():
            places = axes.transData.transform(path.vertices)
            if np.isfinite(places).all():
                boxes.append(np.concatenate([places.min(0), places.max(0)])[None])
    return np.vstack(boxes)


def _round(places: np.ndarray, half: float) -> Boxes:
    return np.hstack([places - half, places + half])


def _dark(colour: str) -> str:
    """The colour, dark enough to be read on white."""
    parts = [int(int(colour[i : i + 2], 16) * 0.72) for i in (1, 3, 5)]
    return "#{:02x}{:02x}{:02x}".format(*parts)
