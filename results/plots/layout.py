"""A figure of panels with one legend and its notes below them, all inside the figure."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .style import Style, drawable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend
    from matplotlib.text import Text

_ABREAST = 2  # panels, where two are little wider than one alone
_WIDER = 1.3
_LEGEND_WIDTH = 60  # characters of a line of a label
_MARGIN = 0.06  # inches


def figure_of(
    count: int,
    draw: Callable[[Axes, int], None],
    style: Style,
    size: tuple[float, float] | None = None,
    heights: Sequence[float] = (),
) -> Figure:
    """A figure of `count` panels, each drawn by `draw` and of `size` inches (the style's unless told); with `heights`
    in inches they stand one below another, and the size's height is of no account."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = size if size is not None else style.panel(count)
    two = not heights and count > 1 and _ABREAST * width <= _WIDER * style.alone[0]
    wide = _ABREAST if two else 1
    ratios = list(heights) or [height] * -(-count // wide)
    figure = Figure(figsize=(width * wide, sum(ratios)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(ratios), wide, height_ratios=ratios)
    for number in range(count):
        draw(figure.add_subplot(grid[number // wide, number % wide]), number)
    return figure


def finish(figure: Figure, notes: Sequence[str], style: Style, legend: Mapping[str, Any] | None = None) -> None:
    """Add the legend (handles by label) and the notes below the panels, which keep their size: the figure grows."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    words = _notes(figure, list(dict.fromkeys(notes)), style)
    box = _legend(figure, legend) if legend else None
    below = [part.get_window_extent().height / figure.dpi + _MARGIN for part in (words, box) if part is not None]
    width, height = figure.get_size_inches()
    whole = height + sum(below)
    figure.set_size_inches(width, whole)
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)  # as `figure_of` made it
    engine.set(rect=(0, sum(below) / whole, 1, height / whole))
    words.set_position((_MARGIN / width, _MARGIN / 2 / whole))
    if box is not None:
        box.set_bbox_to_anchor((_MARGIN / width, (below[0] + _MARGIN / 2) / whole))


def by_panel(notes: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """The notes of panels with these titles, each once; with its panels' titles where it is not of all of them."""
    titles: dict[str, list[str]] = {}
    for title, texts in notes:
        for text in texts:
            titles.setdefault(text, []).append(title)
    return [text if len(of) == len(notes) else f"{'; '.join(of)}: {text}" for text, of in titles.items()]


def _notes(figure: Figure, notes: Sequence[str], style: Style) -> Text:
    """The notes as one text, wrapped at the figure's width."""
    room = figure.get_size_inches()[0] * figure.dpi * (1 - 2 * _MARGIN / figure.get_size_inches()[0])
    words = figure.text(0, 0, "", fontsize=style.notes, color="0.35", va="bottom", ha="left")
    words.set_in_layout(False)
    characters = int(room / (0.5 * style.notes * figure.dpi / 72))
    for _ in range(8):
        words.set_text("\n".join(textwrap.fill(drawable(note, 10**6), characters) for note in notes))
        width = words.get_window_extent().width
        if width <= room or characters < 20:
            break
        characters = min(characters - 1, int(characters * room / width))
    return words


def _legend(figure: Figure, handles: Mapping[str, Any]) -> Legend:
    """The legend in as many columns as the figure's width has room for."""
    # Named here: matplotlib leaves out labels of its own that begin with an underscore.
    labels = [drawable(label, _LEGEND_WIDTH) for label in handles]
    for columns in range(min(6, len(labels)), 0, -1):
        box = figure.legend(list(handles.values()), labels, loc="lower left", ncols=columns, borderaxespad=0.0)
        box.set_in_layout(False)
        if columns == 1 or box.get_window_extent().width <= figure.get_size_inches()[0] * figure.dpi:
            return box
        box.remove()
    raise AssertionError("a legend of no lines")
