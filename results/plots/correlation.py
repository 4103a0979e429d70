"""Rank correlations between the columns of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..columns import default_columns, matching
from ..errors import UserError
from ..groups import Group, aggregate, split
from ..headings import name_of
from ..lines import check_protocols
from ..rows import Row, column_names, metric_names
from .columns import check_numbers, protocol_of, title_of
from .layout import by_panel, figure_of, finish
from .matrix import Matrix, colour_bar, draw_matrix, size_of
from .style import Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FEWEST = 4  # lines that both columns must have


def correlations(table: Sequence[Row], *, columns: str | None = None) -> list[Matrix]:
    """A matrix per suite and data set: Spearman's rank correlation between its columns, over lines (means over seeds).

    `columns` are names and patterns with commas; unless told those that tables show (of TSR
    and elements, the TSR). Raises UserError as `results.plot.plot` does, and where no table has two columns with four
    lines.
    """
    names = None if columns is None else matching(columns, column_names(table))
    if names is not None:
        check_numbers(table, [("--y", name) for name in names])
    drawn = [one for groups in split(aggregate(table)) if (one := _matrix(groups, names)) is not None]
    if not drawn:
        raise UserError(f"no table has two columns with numbers in {_FEWEST} lines that are not all alike")
    return drawn


def _matrix(groups: Sequence[Group], names: Sequence[str] | None) -> Matrix | None:
    shown = [name for name in default_columns(groups) if name != "elements"] if names is None else names
    chosen = [name for name in shown if _varies(groups, name)]
    if len(chosen) < 2:
        return None
    metrics = metric_names(row for group in groups for row in group.rows)
    check_protocols(groups, [name for name in chosen if name in metrics])
    related = {(a, b): _spearman(groups, a, b) for a in chosen for b in chosen}
    counts = sorted({n for (a, b), (_, n) in related.items() if a != b})
    lines = "–".join(dict.fromkeys(map(str, (counts[0], counts[-1]))))
    notes = [
        f"Spearman's rank correlation over {lines} lines (means over seeds); –: fewer than {_FEWEST}, or all alike"
    ]
    notes += [text for name in chosen if name in metrics and (text := protocol_of(groups, name))]
    words = tuple(_word(name, chosen) for name in chosen)
    return Matrix(
        title=title_of(groups[0]),
        x_label="",
        y_label="",
        across=words,
        up=words,
        values=tuple(tuple(related[a, b][0] for b in chosen) for a in chosen),
        texts=tuple(tuple(_text(related[a, b][0]) for b in chosen) for a in chosen),
        notes=tuple(notes),
    )


def _word(name: str, chosen: Sequence[str]) -> str:
    """The column's name in words, or as it is where another one has the same words."""
    return name_of(name) if sum(name_of(other) == name_of(name) for other in chosen) == 1 else name


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def _varies(groups: Sequence[Group], name: str) -> bool:
    values = [value for group in groups if (value := group.mean(name)) is not None]
    return len(values) >= _FEWEST and len(set(values)) > 1


def _spearman(groups: Sequence[Group], a: str, b: str) -> tuple[float | None, int]:
    """Pearson's correlation of the ranks (ties share the mean of theirs), and the lines that it is over; None where
    they are too few, or a column is constant over them."""
    import numpy as np
    from scipy.stats import rankdata

    pairs = [(x, y) for group in groups if (x := group.mean(a)) is not None and (y := group.mean(b)) is not None]
    if len(pairs) < _FEWEST or any(len(set(column)) < 2 for column in zip(*pairs, strict=True)):
        return None, len(pairs)
    first, second = (rankdata(column) for column in zip(*pairs, strict=True))
    return float(np.corrcoef(first, second)[0, 1]), len(pairs)


def draw_correlations(matrices: Sequence[Matrix], style: Style) -> Figure:
    """A figure of the matrices: orange for -1, purple for 1, which the colour-blind can tell apart."""

    def draw(axes: Axes, number: int) -> None:
        mesh = draw_matrix(axes, matrices[number], style, colours="PuOr", low=-1, high=1)
        colour_bar(axes, mesh, ticks=[-1, -0.5, 0, 0.5, 1])

    figure = figure_of(len(matrices), draw, style, size_of(matrices, style))
    finish(figure, by_panel([(one.title, one.notes) for one in matrices]), style)
    return figure
