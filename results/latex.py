"""Tables as LaTeX that compiles as it stands: `\\usepackage{booktabs}`, any engine, as wide as the page's column."""

from __future__ import annotations

from collections.abc import Sequence

from .display import printable
from .errors import UserError
from .layout import deciding, pages_of
from .notes import ARROWS
from .tables import Column, Notes, Table, TableCell, shared_notes

# Digits of \footnotesize that fit beside each other into \linewidth of the article class: 345 pt in one column, 229 pt
# in two (an ACL or CVPR column is wider). A digit is 4.25 pt wide; bold ones and the space between columns count.
_ROOM = {1: 80, 2: 53}
_BETWEEN = 1.45  # two \tabcolsep of 3 pt

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\texttt{\char34}",  # \textquotedbl needs fontenc
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "●": r"$\bullet$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "≈": r"$\approx$",
    "√": r"$\surd$",
    "∞": r"$\infty$",
    "−": r"$-$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "’": "'",
    "“": "``",
    "”": "''",
    "\N{REPLACEMENT CHARACTER}": "?",
    **{chr(0x2070 + int(d)): rf"$^{d}$" for d in "0456789"},
    "¹": "$^1$",
    "²": "$^2$",
    "³": "$^3$",
}
_GREEK = {
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "δ": "delta",
    "ε": "epsilon",
    "ζ": "zeta",
    "η": "eta",
    "θ": "theta",
    "ι": "iota",
    "κ": "kappa",
    "λ": "lambda",
    "μ": "mu",
    "ν": "nu",
    "ξ": "xi",
    "π": "pi",
    "ρ": "rho",
    "σ": "sigma",
    "τ": "tau",
    "υ": "upsilon",
    "φ": "phi",
    "χ": "chi",
    "ψ": "psi",
    "ω": "omega",
    "Γ": "Gamma",
    "Δ": "Delta",
    "Θ": "Theta",
    "Λ": "Lambda",
    "Π": "Pi",
    "Σ": "Sigma",
    "Φ": "Phi",
    "Ψ": "Psi",
    "Ω": "Omega",
}
_LATIN = "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿŠšŽžŒœĆćČčĚěĞğŁłŃńŘřŚśŞşŻżŹź"
# A letter that pdfTeX has in no font is a question mark there, and itself in engines that read Unicode.
_OTHER = r"\providecommand{\unicodetext}[1]{\ifdefined\XeTeXrevision#1\else\ifdefined\directlua#1\else?\fi\fi}"


def latex(tables: Sequence[Table], *, notes: Notes = "short", page_columns: int = 1, whole: bool = False) -> str:
    """A booktabs table for each, with its notes below, for a paper of one or two columns (`page_columns`).

    Only the columns that decide are set, as many as fit the page's column; `whole` sets all, where a table continues
    below itself. What "short" notes leave out, how columns were measured, follows as comments.
    """
    if page_columns not in _ROOM:
        raise UserError(f"--latex-columns {page_columns}: a page has 1 or 2 columns")
    parts = [_table(table, _notes(table, notes), _ROOM[page_columns], whole) for table in tables]
    told = {table.legend for table in tables}
    measured = [note for note in shared_notes(tables) if note not in told] if notes == "short" else []
    shared = [f"% {_text(note)}\n" for note in measured]
    text = "\n".join([*parts, *(["".join(shared)] if shared else [])])
    return f"{_OTHER}\n{text}" if r"\unicodetext{" in text else text


def _table(table: Table, notes: Sequence[str], room: int, whole: bool) -> str:
    size = [_width(table, i) for i in range(len(table.columns))].__getitem__
    tabulars = []
    for page in pages_of(table, size, room) if whole else [deciding(table, size, room)]:
        columns = [table.columns[i] for i in page]
        spec = "".join("r" if column.number else "l" for column in columns)
        heads = [_head_lines(column) for column in columns]
        depth = max(map(len, heads))
        # bottom-aligned, a row of words below another
        rows = [" & ".join(_text(([""] * (depth - len(head)) + head)[i]) for head in heads) for i in range(depth)]
        body = [" & ".join(_cell(line[i]) for i in page) + r" \\" for line in table.lines]
        tabulars += [rf"\begin{{tabular}}{{@{{}}{spec}@{{}}}}", r"\toprule", *(rf"{row} \\" for row in rows)]
        tabulars += [r"\midrule", *body, r"\bottomrule", r"\end{tabular}", r"\par\smallskip"]
    below = " ".join(map(_text, notes))
    lines = [
        r"\begin{table}",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{_text(table.title)}}}",
        *tabulars,
        *([rf"\begin{{minipage}}{{\linewidth}}\footnotesize {below}\end{{minipage}}"] if below else []),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _notes(table: Table, notes: Notes) -> list[str]:
    legend = [table.legend] if notes == "short" and table.legend else []  # no reader of a paper sees the comments
    return [*legend, *table.own_notes(notes)]


def _width(table: Table, i: int) -> float:
    """The room that the column takes, in digits of the font."""
    head = max(map(len, _head_lines(table.columns[i])))
    body = max((_digits(line[i]) for line in table.lines), default=1.0)
    return max(float(head), body) + _BETWEEN


def _digits(cell: TableCell) -> float:
    text = len(printable(cell.text)) * (1.15 if cell.best else 1.0)
    return text + (len(cell.margin) + 2.7 if cell.margin else 0)  # a ± with its spaces


def _head_lines(column: Column) -> list[str]:
    """The heading, a word or two a line, with its arrow at the end."""
    lines: list[str] = []
    for word in [*printable(column.title).replace("@", " @").split(), *filter(None, [ARROWS[column.direction]])]:
        if lines and len(lines[-1]) + len(word) < 10:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _text(text: str) -> str:
    """Text of which LaTeX sets every character as it is."""
    return "".join(map(_character, printable(text)))


def _character(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    if character in _GREEK:
        return rf"$\{_GREEK[character]}$"
    # Latin letters with accents are in every font; of others pdfTeX stops at the first.
    return character if character < "\x80" or character in _LATIN else rf"\unicodetext{{{character}}}"


def _cell(cell: TableCell) -> str:
    text = rf"\textbf{{{_text(cell.text)}}}" if cell.best else _text(cell.text)
    return rf"{text} $\pm$ {_text(cell.margin)}" if cell.margin else text
