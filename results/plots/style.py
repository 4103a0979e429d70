"""How pictures look: sizes for paper and slides, colours that the colour-blind can tell apart, numbers on axes."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..display import compact

if TYPE_CHECKING:
    from matplotlib.axis import Axis

FORMATS = (".png", ".svg", ".pdf")
# Okabe and Ito's colours, which the colour-blind can distinguish too; markers distinguish lines in grey. Their numbers
# have no common divisor, so 56 lines look different.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MARKERS = "osD^vP*"
REFERENCE = "#555555"
DASHES = ("--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
# Labels are anybody's: a dollar is a dollar, and no program sets text. Fonts go into a PDF as outlines that printers of
# journals take (TrueType); text stays text in an SVG.
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "font.size": 9,
    "text.usetex": False,
    "text.parse_math": False,
}


@dataclass(frozen=True, kw_only=True)
class Style:
    """Sizes: of text in points, of a panel alone and of one among several in inches, of lines and marks in points."""

    text: float
    notes: float
    alone: tuple[float, float]
    among: tuple[float, float]
    line: float
    mark: float
    dpi: int

    def panel(self, count: int) -> tuple[float, float]:
        """The size of a panel among so many."""
        return self.alone if count == 1 else self.among

    @property
    def settings(self) -> dict[Any, Any]:
        """What matplotlib is told."""
        return STYLE | {
            "font.size": self.text,
            "axes.titlesize": self.text,
            "axes.linewidth": 0.4 * self.line,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "xtick.labelsize": 0.9 * self.text,
            "ytick.labelsize": 0.9 * self.text,
            "legend.fontsize": 0.9 * self.text,
            "legend.frameon": False,
        }


# A paper's text is 5.5 to 7 inches wide, and its smallest print 7 points; a slide is 13.3 inches wide.
STYLES = {
    "paper": Style(text=8, notes=6.5, alone=(5.5, 3.4), among=(3.4, 2.5), line=1.4, mark=4.5, dpi=300),
    "slides": Style(text=18, notes=11, alone=(13.3, 6.2), among=(6.6, 4.8), line=3.0, mark=10, dpi=120),
}


def plain_ticks(axis: Axis, *, logarithmic: bool) -> None:
    """Numbers on an axis as people write them: 0.2, 5, 20k, 3G. Its own are mathematics, which nothing sets here."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    low, high = sorted(axis.get_view_interval())
    if logarithmic:
        decades = high >= 1000 * low
        subs, numticks = ((1.0,), 9) if decades else ((1.0, 2.0, 5.0), 12)
        within = high < 10 * low  # where 1, 2, 5 are too few, equal steps are crowded only if they are many
        axis.set_major_locator(MaxNLocator(4) if within else LogLocator(subs=subs, numticks=numticks))
        axis.set_minor_formatter(NullFormatter())
    if logarithmic or max(abs(low), abs(high)) >= 1e5:
        axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))


def tick(value: float) -> str:
    """A number beside an axis."""
    return compact(value) if abs(value) >= 1e4 else f"{value:g}"


def drawable(text: str, width: int = 100) -> str:
    """A text without what no file of a picture can hold (control characters, parts of characters); long lines wrap."""
    visible = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
    return "\n".join(textwrap.fill(line, width) for line in visible.split("\n"))
