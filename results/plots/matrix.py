"""Numbers in a field of coloured squares, as heat maps and correlations have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .style import Style, drawable, plain_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh

_LEGIBLE = 0.45  # of a square's side, in which a number of four digits can be read at the style's size, in inches


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Values by row and column (None where there is none), each with its text, and what the axes' places are called."""

    title: str
    x_label: str
    y_label: str
    across: tuple[str, ...]
    up: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    texts: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def size_of(matrices: Sequence[Matrix], style: Style) -> tuple[float, float]:
    """Inches of a panel in which the squares' numbers are legible."""
    side = _LEGIBLE * style.text / 8
    width, height = style.panel(len(matrices))
    names = max(len(name) for matrix in matrices for name in matrix.up) * 0.6 * style.text / 72
    columns = max(len(matrix.across) for matrix in matrices)
    rows = max(len(matrix.up) for matrix in matrices)
    return max(width, side * columns + names + 1.2 * style.text / 8), max(0.6 * height, side * rows + names / 2)


def draw_matrix(axes: Axes, matrix: Matrix, style: Style, *, colours: str, low: float, high: float) -> QuadMesh:
    """Draw the squares in the colours between `low` and `high`, and the numbers on them."""
    import matplotlib as mpl
    import numpy as np

    values = np.array([[np.nan if v is None else v for v in row] for row in matrix.values])
    bad = mpl.colormaps[colours].with_extremes(bad="0.92")
    # Squares and not a picture of pixels, which blurs in print.
    mesh = axes.pcolormesh(
        np.ma.masked_invalid(values), cmap=bad, vmin=low, vmax=high, edgecolors="face", linewidth=0.2
    )
    axes.invert_yaxis()
    for (i, j), value in np.ndenumerate(values):
        dark = np.isfinite(value) and _luminance(np.asarray(mesh.cmap(mesh.norm(value))).tolist()) < 0.45
        axes.text(
            j + 0.5,
            i + 0.5,
            drawable(matrix.texts[i][j]),
            ha="center",
            va="center",
            fontsize=0.75 * style.text,
            color="white" if dark else "0.1",
        )
    slanted = max(len(name) for name in matrix.across) > 6
    axes.set_xticks(
        [j + 0.5 for j in range(len(matrix.across))],
        [drawable(name, 28) for name in matrix.across],
        rotation=40 if slanted else 0,
        ha="right" if slanted else "center",
        rotation_mode="anchor",
    )
    axes.set_yticks([i + 0.5 for i in range(len(matrix.up))], [drawable(name, 28) for name in matrix.up])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(drawable(matrix.title, 50))
    axes.set_xlabel(drawable(matrix.x_label, 60))
    axes.set_ylabel(drawable(matrix.y_label, 40))
    return mesh


def colour_bar(axes: Axes, mesh: QuadMesh, label: str = "", ticks: Sequence[float] | None = None) -> None:
    """Beside the axes, what the colours stand for."""
    bar = axes.figure.colorbar(mesh, ax=axes, fraction=0.05, ticks=ticks)
    if bar.solids is not None:
        bar.solids.set(rasterized=False, edgecolor="face")  # no pixels, and no seams between the colours
    bar.ax.spines["outline"].set_visible(False)
    bar.set_label(drawable(label, 40))
    plain_ticks(bar.ax.yaxis, logarithmic=False)


def _luminance(colour: Sequence[float]) -> float:
    red, green, blue = colour[:3]
    return 0.299 * red + 0.587 * green + 0.114 * blue
