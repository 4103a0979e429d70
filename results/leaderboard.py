"""The leaderboard: rows of one or more output folders, filtered, sorted, and set in a format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from .activity import last_log
from .columns import front_axes, matching
from .comparable import SCORE
from .compare import comparison
from .display import files_line
from .errors import UserError, unknown
from .filters import select
from .formats import comma_separated, json_rows, markdown
from .garbage import no_collections
from .groups import aggregate, best_first, direction_of, split
from .latex import latex
from .lines import check_protocols
from .page import page
from .pivot import pivot_table, pivots
from .rows import NESTED, Row, column_names, metric_names, rows
from .run_score import with_score_of, without_score
from .statistics import pareto as on_front
from .store import Store
from .tables import Notes, Table, tables

if TYPE_CHECKING:
    from rich.console import Console

_NO_DOUBTS = "--pivot sets a grid, in which a score's doubts have no room: leave out --score"
# Up to this many logs of failed jobs are named below a table.
_LOGS = 3

Format = Literal["md", "csv", "json", "latex", "html"]


@no_collections()
def leaderboard(
    dirs: Sequence[Path | str],
    *,
    format: str = "md",
    sort: str | None = None,
    where: str | Sequence[str] | None = None,
    columns: str | Sequence[str] | None = None,
    pareto: str | Sequence[str] | None = None,
    group: str | Sequence[str] | None = None,
    pivot: str | Sequence[str] | None = None,
    suite: str | None = None,
    notes: str | None = None,
    latex_columns: int = 1,
    score: Path | None = None,
) -> str:
    """The leaderboard of the output folders `dirs` (or of one `suite` there) as text: see `render`.

    With a `score`, a file that `calibrate --fit-score` wrote, or a `score.json` in the folders, lines have the column
    `modelability_score`. Raises UserError on any bad input.
    """
    if pivot is not None and score is not None:
        raise UserError(_NO_DOUBTS)
    return render(
        _read(dirs, suite, score, is_grid=pivot is not None),
        format=format,
        sort=sort,
        where=where,
        columns=columns,
        pareto=pareto,
        group=group,
        pivot=pivot,
        notes=notes,
        latex_columns=latex_columns,
    )


@no_collections()
def show(
    dirs: Sequence[Path | str],
    console: Console,
    *,
    wide: bool = False,
    sort: str | None = None,
    where: str | Sequence[str] | None = None,
    columns: str | Sequence[str] | None = None,
    pareto: str | Sequence[str] | None = None,
    group: str | Sequence[str] | None = None,
    pivot: str | Sequence[str] | None = None,
    suite: str | None = None,
    notes: str | None = None,
    score: Path | None = None,
) -> None:
    """Print the tables of the output folders `dirs` (or of one `suite` there) on a terminal, as wide as
    it is: see `render`.

    Unless they are `wide` or `columns` are named, tables have the columns that decide, as many as fit. Notes are short
    unless tables are `wide`.
    """
    if pivot is not None and score is not None:
        raise UserError(_NO_DOUBTS)
    from .terminal import terminal  # needs Rich, which takes a while to be imported

    table = _read(dirs, suite, score, is_grid=pivot is not None)
    drawn = _tables(_selected(table, where), sort, columns, pareto, group, pivot)
    whole = wide or columns is not None
    console.print(
        *terminal(drawn, width=console.width, whole=whole, notes=_notes(notes, "full" if wide else "short")),
        sep="\n",
        highlight=False,
    )


def render(
    table: Sequence[Row],
    *,
    format: str = "md",
    sort: str | None = None,
    where: str | Sequence[str] | None = None,
    columns: str | Sequence[str] | None = None,
    pareto: str | Sequence[str] | None = None,
    group: str | Sequence[str] | None = None,
    pivot: str | Sequence[str] | None = None,
    notes: str | None = None,
    latex_columns: int = 1,
) -> str:
    """The rows in a format: tables over seeds ("md", "latex", "html") or one line per cell ("csv", "json").

    `sort` is a column, best or smallest first, `-column` the other way round. `where` are filters (`select`) that all
    must be met. `columns` are names or patterns (list, or text with commas), "all", or None for the compact default.
    `pareto` names the axes of the front that is marked (text with commas); None takes the real rate against the
    modality's distortion in tables, and marks nothing in csv and json, where naming it adds a column `pareto`.
    `group` names columns: there is a table per value of them, and lines are compared within it. `pivot` names two: the
    metric `sort` (unless named, what ranks the table) is set in a grid of their values, one for each label; `group`,
    `columns` and `pareto` are refused beside it.
    `notes` are "full" below each table, "short" with how columns were measured once at the end, or "none"; None is
    "short" for latex, and "full" elsewhere. `latex_columns` is how many columns the paper's page has: a table is as
    wide as one of them.

    Raises UserError on an unknown format, column, filter or axis (with the nearest name), when no cell is left, and
    when two protocols of one metric would stand in one table.
    """
    if format not in get_args(Format):
        raise unknown("format", format, get_args(Format))
    chosen = _selected(table, where)
    if format in ("csv", "json"):
        if group is not None or pivot is not None:
            raise UserError(f"--format {format} has a line per cell: --group and --pivot are of tables")
        return _flat(chosen, format, sort, None if _all(columns) else columns, _axes(pareto))
    drawn = _tables(chosen, sort, columns, pareto, group, pivot)
    whole = columns is not None
    return typeset(drawn, format, notes=notes, latex_columns=latex_columns, whole=whole)


def compare(
    first: Path | str,
    second: Path | str,
    *,
    where: str | Sequence[str] | None = None,
    columns: str | Sequence[str] | None = None,
) -> list[Table]:
    """Tables of the run in `second` against that in `first`: see `compare.comparison`. Raises UserError."""
    table = [_selected(without_score(rows([folder])), where) for folder in (first, second)]
    return comparison(table[0], table[1], columns)


def typeset(
    drawn: Sequence[Table], format: str, *, notes: str | None = None, latex_columns: int = 1, whole: bool = False
) -> str:
    """Tables as "md", "latex" or "html"; `notes` and `latex_columns` as in `render`. `whole` sets every column in LaTeX
    too, where a table otherwise has those that decide, as many as fit."""
    if format == "latex":
        return latex(drawn, notes=_notes(notes, "short"), page_columns=latex_columns, whole=whole)
    how = _notes(notes, "full")
    return page(drawn, notes=how) if format == "html" else markdown(drawn, notes=how)


def _notes(named: str | None, usual: Notes) -> Notes:
    for known in get_args(Notes):
        if known == (named or usual):
            return known
    raise unknown("choice of notes", str(named), get_args(Notes), where="--notes")


def _read(dirs: Sequence[Path | str], suite: str | None, score: Path | None, *, is_grid: bool) -> list[Row]:
    table = _of(rows(dirs), suite)
    return without_score(table) if is_grid else with_score_of(table, dirs, score)


def _of(table: Sequence[Row], suite: str | None) -> list[Row]:
    """The suite's rows, by equality: any text may be a name, and not every one can be a filter's value."""
    return [row for row in table if suite is None or row.get("suite") == suite]


def _selected(table: Sequence[Row], where: str | Sequence[str] | None) -> list[Row]:
    chosen = select(table, where)
    if not chosen:
        raise UserError("there is no cell to show: the suites hold none")
    return chosen


def _tables(
    chosen: Sequence[Row],
    sort: str | None,
    columns: str | Sequence[str] | None,
    pareto: str | Sequence[str] | None,
    group: str | Sequence[str] | None,
    pivot: str | Sequence[str] | None,
) -> list[Table]:
    if pivot is not None:
        options = {"--group": group, "--columns": columns, "--pareto": pareto}
        if named := [option for option, value in options.items() if value is not None]:
            raise UserError(f"--pivot has one metric (--sort) over two columns: leave out {' and '.join(named)}")
        return [pivot_table(one) for one in pivots(chosen, pivot, sort.removeprefix("-") if sort else None)]
    drawn = tables(chosen, sort=sort, columns="all" if _all(columns) else columns, front=_axes(pareto), group=group)
    result = []
    for table in drawn:
        more = (*_data_notes(table), *_log_notes(table))
        result.append(replace(table, notes=(*table.notes, *more), brief=(*table.brief, *more)))
    return result


def _data_notes(table: Table) -> list[str]:
    """What the table's data set consists of: files used and skipped, samples of each split."""
    lines = {}
    for row in (row for group in table.groups for row in group.rows):
        counts = row.data.get("counts", {})
        if "files" in counts:
            lines[files_line(counts, row.data.get("reasons", {}))] = row
    return [f"Data: {line}." for line in lines]


def _log_notes(table: Table) -> list[str]:
    """Where the logs of failed jobs lie."""
    logs = []
    for row in (row for group in table.groups for row in group.rows if row.failed_job):
        log = last_log(Store(row["source"]).job_folder(*row.failed_job.split("/")))
        if log is not None and str(log) not in logs:
            logs.append(str(log))
    more = f" and {len(logs) - _LOGS} more" if len(logs) > _LOGS else ""
    return [f"Logs of failed jobs: {', '.join(logs[:_LOGS])}{more}."] if logs else []


def _all(columns: str | Sequence[str] | None) -> bool:
    return isinstance(columns, str) and columns.strip() == "all"


def _axes(pareto: str | Sequence[str] | None) -> Sequence[str] | None:
    return pareto.split(",") if isinstance(pareto, str) else pareto


def _flat(
    chosen: list[Row], format: str, sort: str | None, columns: str | Sequence[str] | None, axes: Sequence[str] | None
) -> str:
    known = column_names(chosen)
    if sort is not None:
        if sort.removeprefix("-") == SCORE and len(parts := split(aggregate(chosen))) > 1:
            raise UserError(
                f"--sort {SCORE}: a score orders the tokenizers of one table, and here are {len(parts)}; keep one "
                "with --where, as in dataset=photos"
            )
        chosen = _sorted(chosen, sort, known)
    if axes is not None:
        chosen = _marked(chosen, axes, known)
        known = column_names(chosen)
    names = None if columns is None else matching(columns, [*known, *NESTED])
    if format == "json":
        return json_rows(chosen, names)
    # Without `protocols` beside them, values of two protocols in one column would look alike.
    if names is not None and "protocols" not in names:
        for members in split(aggregate(chosen)):
            check_protocols(members, [name for name in metric_names(chosen) if name in names])
    return comma_separated(chosen, names)


def _sorted(chosen: list[Row], sort: str, known: Sequence[str]) -> list[Row]:
    name = sort.removeprefix("-")
    if name not in known:
        raise unknown("column", name, known, where="sort")
    higher = any(name in row.metrics and row.metrics[name].direction == "higher" for row in chosen)
    return best_first(chosen, lambda row: row.get(name), descending=higher != sort.startswith("-"))


def _marked(chosen: list[Row], axes: Sequence[str], known: Sequence[str]) -> list[Row]:
    """The rows with a column `pareto`: whether their group (over seeds) is on the front of its table."""
    front: set[int] = set()
    for members in split(aggregate(chosen)):
        names = front_axes(members, axes, known)
        points = [[group.mean(name) for name in names] for group in members]
        marks = on_front(points, [direction_of(members, name) for name in names])
        front |= {id(row) for group, mark in zip(members, marks, strict=True) for row in group.rows if names and mark}
    return [replace(row, columns={**row.columns, "pareto": id(row) in front}) for row in chosen]
