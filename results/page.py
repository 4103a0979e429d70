"""The leaderboard as one self-contained HTML page: no outside scripts, styles or fonts; columns sort on a click."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape as escape_html

from .display import printable
from .notes import ARROWS
from .tables import Column, Notes, Table, TableCell, shared_notes

# Nothing is loaded, nothing is sent, and no script runs but the page's own (by its hash).
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src 'self'; base-uri 'none'"

_STYLE = """
:root { color-scheme: light dark; --text: #1c1c1c; --soft: #555; --paper: #fff; --rule: #ddd; --line: #333; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e4e4; --soft: #aaa; --paper: #161616; --rule: #3a3a3a; --line: #bbb; }
}
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem; color: var(--text); background: var(--paper); }
@media (max-width: 40rem) { body { margin: 1rem; } }
h1, h2, p, li, caption { overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
caption { text-align: left; color: var(--soft); padding-bottom: .3rem; }
a { color: inherit; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }
thead th { border-bottom: 2px solid var(--line); }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 2px solid #47d; }
th[aria-sort=ascending] button::after { content: " ▴"; }
th[aria-sort=descending] button::after { content: " ▾"; }
.text { text-align: left; }
.margin { color: var(--soft); }
ul { color: var(--soft); max-width: 75rem; padding-left: 1.2rem; }
"""

_SCRIPT = """
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = head.closest("table").tBodies[0];
    const index = head.cellIndex, up = head.getAttribute("aria-sort") !== "ascending";
    const key = row => row.cells[index].dataset.value ?? "";
    const compare = (a, b) => {
      const x = key(a), y = key(b);
      if (x === "" || y === "") return (x === "") - (y === "");
      const numbers = !isNaN(x) && !isNaN(y);
      return (up ? 1 : -1) * (numbers ? x - y : x.localeCompare(y));
    };
    body.append(...[...body.rows].sort(compare));
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
  });
}
"""


def page(tables: Sequence[Table], *, title: str = "Leaderboard", notes: Notes = "full") -> str:
    """All tables on one page, with their notes. Everything that comes from a suite or a record is escaped."""
    sections = (section(table, notes=notes) for table in tables)
    return document("\n".join([f"<h1>{escape(title)}</h1>", *sections, footer(tables, notes)]), title=title)


def document(body: str, *, title: str) -> str:
    """A whole page around `body`, which is HTML; the title is escaped."""
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY.format(digest=digest)}">'
    narrow = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f'<meta charset="utf-8">\n{policy}\n{narrow}\n<title>{escape(title)}</title>\n<style>{_STYLE}</style>'
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n'
        f"<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def footer(tables: Sequence[Table], notes: Notes) -> str:
    """The notes that "short" ones leave to the end of the page: how columns were measured."""
    entries = shared_notes(tables) if notes == "short" else []
    return f"<ul>\n{_items(entries)}\n</ul>" if entries else ""


def section(table: Table, *, notes: Notes = "full", caption: str = "") -> str:
    """One table with its heading and notes as a fragment of a page, and a caption if there is one."""
    heads = "".join(_head(column) for column in table.columns)
    lines = "\n".join(f"<tr>{''.join(map(_cell, table.columns, line))}</tr>" for line in table.lines)
    below = _items(table.own_notes(notes))
    above = f"<caption>{escape(caption)}</caption>\n" if caption else ""
    parts = [
        f"<section>\n<h2>{escape(table.title)}</h2>",
        f'<div class="scroll"><table>\n{above}<thead><tr>{heads}</tr></thead>',
        f"<tbody>\n{lines}\n</tbody>\n</table></div>",
        f"<ul>\n{below}\n</ul>" if below else "",
        "</section>",
    ]
    return "\n".join(part for part in parts if part)


def _items(notes: Sequence[str]) -> str:
    return "\n".join(f"<li>{escape(note)}</li>" for note in notes)


def escape(text: str) -> str:
    """Text as HTML shows it: inert, in one line."""
    return escape_html(printable(text))


def _head(column: Column) -> str:
    side = "" if column.number else ' class="text"'
    text = f"{column.title} {ARROWS[column.direction]}".rstrip()
    return f'<th scope="col"{side}><button type="button">{escape(text)}</button></th>'


def _cell(column: Column, cell: TableCell) -> str:
    side = "" if column.number else ' class="text"'
    value = "" if cell.value is None else f' data-value="{escape(str(cell.value))}"'
    text = f"<b>{escape(cell.text)}</b>" if cell.best else escape(cell.text)
    margin = f' <span class="margin">± {escape(cell.margin)}</span>' if cell.margin else ""
    return f"<td{side}{value}>{text}{margin}</td>"
