"""The page of a board: what it holds, the tables, and the history of its runs. No outside scripts, styles or fonts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from .board import NAME, BoardRun
from .page import document, escape, section
from .tables import Table

_TITLE = "Board of latentbench runs"


def board_page(tables: Sequence[Table], history: Sequence[BoardRun], *, made: str) -> str:
    """The whole page. Everything that comes from a suite or a record is escaped."""
    runs = "1 run" if len(history) == 1 else f"{len(history)} runs"
    head = (
        f"<h1>{_TITLE}</h1>\n<p>{runs}, made {escape(made)}. The numbers for programs: "
        f'<a href="{NAME}">{NAME}</a>. Values of two protocols are never in one table.</p>'
    )
    drawn = [f'<div id="table-{i}">\n{_table(table)}\n</div>' for i, table in enumerate(tables, 1)]
    return document("\n".join(["<main>", head, _index(tables), *drawn, _history(history), "</main>"]), title=_TITLE)


def _table(table: Table) -> str:
    ranked = f", ranked by {table.ranked_by}" if table.ranked_by and _has_ranks(table) else ", not ranked"
    caption = f"{table.title}: {_count(len(table.groups), 'line')}{ranked}; ± is half of a 95 % interval"
    return section(table, caption=caption)


def _has_ranks(table: Table) -> bool:
    return any(column.name == "rank" for column in table.columns)


def _index(tables: Sequence[Table]) -> str:
    links = [
        f'<li><a href="#table-{i}">{escape(table.title)}</a> ({_count(len(table.groups), "line")})</li>'
        for i, table in enumerate(tables, 1)
    ]
    return (
        '<nav aria-label="Tables">\n<ul>\n'
        + "\n".join([*links, '<li><a href="#history">History</a></li>'])
        + ("\n</ul>\n</nav>")
    )


def _history(history: Sequence[BoardRun]) -> str:
    """The latest first."""
    reported = any("report" in run for run in history)
    heads = ["run", "suites", "began (UTC)", "ended (UTC)", "cells", "versions", "devices"]
    heads += ["report"] if reported else []
    lines = []
    for run in sorted(history, key=lambda run: run["began"], reverse=True):
        texts = [
            ", ".join(run["suites"]),
            _time(run["began"]),
            _time(run["ended"]),
            f"{run['finished']} of {run['cells']} finished",
            _versions(run["versions"]),
            ", ".join(run["devices"]),
        ]
        cells = [f'<th scope="row" class="text">{escape(run["name"])}</th>']
        cells += [f'<td class="text">{escape(text) or "–"}</td>' for text in texts]
        if reported:
            link = f'<a href="{escape(quote(run["report"]))}">report</a>' if "report" in run else "–"
            cells.append(f'<td class="text">{link}</td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    head = "".join(f'<th scope="col" class="text">{text}</th>' for text in heads)
    return (
        '<section id="history">\n<h2>History</h2>\n<div class="scroll"><table>\n'
        f"<caption>When each run was made, the latest first</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(lines)
        + "\n</tbody>\n</table></div>\n</section>"
    )


def _time(text: str) -> str:
    return text[:16].replace("T", " ")


def _versions(versions: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{name} {' / '.join(numbers)}" for name, numbers in versions.items() if numbers != ["unknown"])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
