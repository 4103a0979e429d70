"""The leaderboard's tables before they are set in any format: cells with value and text, ranks, front, notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from .brief import brief_notes, footnotes
from .columns import chosen_columns, depends_on_count, front_axes, known_columns, must_agree, primary, role_of
from .comparable import OF_PRIORS, incomparable
from .display import brief, compact, measured, show
from .errors import unknown
from .groups import Group, Ranking, aggregate, best_first, detail, direction_of, rank, split
from .headings import heading
from .lines import Lines, check_protocols, protocols_of, sample_counts
from .metric import Direction
from .notes import DOUBT, intervals_note, notes
from .pairwise import MOST
from .pairwise import best as best_of
from .rows import Row, is_number
from .statistics import pareto

# Which notes are told: those of each table in full, or short ones and once how columns were measured, or none.
Notes = Literal["short", "full", "none"]


class TableCell(NamedTuple):
    """One cell: what sorts it (`value`), what is read (`text`, and `margin`, the text of `half` an interval, behind a
    ±), and whether it is best."""

    text: str
    value: float | str | None = None
    margin: str = ""
    half: float | None = None
    best: bool = False


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: `name` is the rows' column, `title` what stands above it, `number` sets it right-aligned; `key` ones
    say which line it is and are repeated where a table continues below itself."""

    name: str
    title: str
    direction: Direction = "none"
    number: bool = True
    key: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table per (suite, dataset, modality). `groups` are the lines in the order in which they stand.

    `notes` say everything. Where there is little room `brief` stands for those of this table alone, `legend` for what
    ± and bold mean, and `footnotes` {metric: text} for how each column was measured: tables share the last two. `part`
    says which of the data set's lines these are, where they are divided.
    """

    suite: str
    dataset: str
    modality: str
    groups: tuple[Group, ...]
    columns: tuple[Column, ...]
    lines: tuple[tuple[TableCell, ...], ...]
    common: Mapping[str, Any]
    ranked_by: str | None
    notes: tuple[str, ...]
    brief: tuple[str, ...] = ()
    legend: str = ""
    footnotes: Mapping[str, str] = field(default_factory=dict)
    part: str = ""

    @property
    def title(self) -> str:
        """Suite, data set and modality, and the part of them."""
        return f"{self.suite} · {self.dataset} ({self.modality})" + (f" · {self.part}" if self.part else "")

    def own_notes(self, notes: Notes) -> tuple[str, ...]:
        """What stands below the table itself."""
        return {"full": self.notes, "short": self.brief, "none": ()}[notes]


def shared_notes(tables: Sequence[Table]) -> list[str]:
    """What stands once below several tables with short notes: what ± means, and how each column was measured."""
    legends = [table.legend for table in tables if table.legend]
    shown = [(table, {column.name for column in table.columns}) for table in tables]
    measured = [note for table, names in shown for name, note in table.footnotes.items() if name in names]
    return list(dict.fromkeys([*legends, *measured]))


def tables(
    rows: Sequence[Row],
    *,
    sort: str | None = None,
    columns: str | Sequence[str] | None = None,
    front: Sequence[str] | None = None,
    group: str | Sequence[str] | None = None,
) -> list[Table]:
    """One table per suite, data set and modality, and per value of the columns `group`: lines are compared within.

    `sort` orders the lines: a metric best first, another number or text ascending, `-name` the other way round; it is
    also what the lines are ranked by if it is a metric with a direction. Raises UserError on unknown names, and where
    a metric that would be shown has two protocols in one table.
    """
    groups = aggregate(rows)
    known = known_columns(groups)
    if sort is not None and sort.removeprefix("-") not in known:
        raise unknown("column", sort.removeprefix("-"), known, where="sort")
    names = [name.strip() for name in (group.split(",") if isinstance(group, str) else group or ())]
    for name in names:
        if name not in known:
            raise unknown("column", name, known, where="--group")
    return [
        replace(_table(part, known, sort, columns, front), part=title)
        for members in split(groups)
        for title, part in _parts(members, names)
    ]


def _parts(groups: Sequence[Group], names: Sequence[str]) -> list[tuple[str, list[Group]]]:
    """The groups by their values of the columns, with a title for each."""
    parts: dict[str, list[Group]] = {}
    for group in groups:
        values = ((name, group.label if name == "label" else group.common(name)) for name in names)
        parts.setdefault(", ".join(f"{name} {show(value) or '–'}" for name, value in values), []).append(group)
    return [*parts.items()]


def _table(
    groups: Sequence[Group],
    known: Sequence[str],
    sort: str | None,
    columns: str | Sequence[str] | None,
    front: Sequence[str] | None,
) -> Table:
    lines = Lines(groups)
    names = chosen_columns(lines, columns, known)
    axes = front_axes(lines, front, known)
    key = sort.removeprefix("-") if sort else None
    metrics = lines.metric_names
    first = key if key in metrics and direction_of(lines, key) != "none" else primary(lines)
    needed = [name for name in (*axes, first, key) if name in metrics]
    names, left_out = _comparable(lines, names, needed, named=columns is not None and columns != "all")
    check_protocols(lines, [name for name in (*needed, *names) if name in metrics])
    here = key is not None and any(group.mean(key) is not None or group.common(key) is not None for group in lines)
    groups = lines.reordered(_sorted(lines, key if here else first, reverse=sort is not None and sort.startswith("-")))
    if first is not None and first not in names:
        names.append(first)

    measured_names = dict.fromkeys(name for name in (*names, first) if name in metrics)
    forbidden = {
        name: reason
        for name in measured_names
        if direction_of(groups, name) != "none" and (reason := incomparable(groups, name))
    }
    compared = rank(groups, first) if first is not None and first not in forbidden else None
    varying, common = _axes(groups)
    numbers = [TableCell(text=str(place), value=place) for place in range(1, len(groups) + 1)]
    built: list[Built] = [(Column(name="#", title="#", key=True), numbers), *_rank_columns(groups, compared, axes)]
    built.append(_text_column("recipe", [group.title for group in groups]))
    built += [
        _text_column(axis, [show(g.axes.get(axis)) for g in groups], [_sortable(g.axes.get(axis)) for g in groups])
        for axis in varying
    ]
    built.append(_seeds(groups))
    unranked = []
    for name in names:
        direction = "none" if name in forbidden or name not in metrics else direction_of(groups, name)
        column, cells, ranked = _column(groups, name, direction, is_metric=name in metrics)
        built.append((column, cells))
        if not ranked:
            unranked.append(name)
    shown = [name for name in names if name in metrics]
    legend = intervals_note(groups, shown)
    below = notes(
        groups, shown, compared, axes, common, legend=legend, unmarked=unranked, mixed=left_out, forbidden=forbidden
    )
    return Table(
        suite=groups[0].suite,
        dataset=groups[0].dataset,
        modality=groups[0].modality,
        groups=tuple(groups),
        columns=tuple(column for column, _ in built),
        lines=tuple(zip(*(cells for _, cells in built), strict=True)),
        common=common,
        ranked_by=first,
        notes=tuple(below),
        brief=tuple(brief_notes(groups, compared, axes, common, [*forbidden], shown)),
        legend=legend,
        footnotes=footnotes(groups, shown, forbidden),
    )


def _comparable(
    groups: Sequence[Group], names: Sequence[str], needed: Sequence[str | None], *, named: bool
) -> tuple[list[str], list[str]]:
    """The columns without those of two protocols that were not asked for and that no table is read for; and those."""
    mixed = [name for name in names if len(protocols_of(groups, name)) > 1 and role_of(groups, name) != "rate"]
    left_out = [] if named else [name for name in mixed if not must_agree(groups, name) and name not in needed]
    return [name for name in names if name not in left_out], left_out


Built = tuple[Column, list[TableCell]]


def _rank_columns(groups: Lines, compared: Ranking | None, axes: Sequence[str]) -> list[Built]:
    built: list[Built] = []
    if compared is not None:
        cells = [TableCell(text="–" if place is None else str(place), value=place) for place in compared.ranks]
        built.append((Column(name="rank", title="rank"), cells))
    if axes:
        points = [*zip(*map(groups.means, axes), strict=True)]
        on = pareto(points, [direction_of(groups, name) for name in axes])
        marks = [TableCell(text="●" if mark else "", value=int(mark)) for mark in on]
        built.append((Column(name="pareto", title="P", number=False), marks))
    return built


def _text_column(name: str, texts: Sequence[str], values: Sequence[float | str | None] | None = None) -> Built:
    values = values or texts
    numeric = all(isinstance(value, int | float) or value is None for value in values)
    cells = [TableCell(text, value) for text, value in zip(texts, values, strict=True)]
    return Column(name=name, title=name, number=numeric, key=True), cells


def _seeds(groups: Lines) -> Built:
    totals = [len(group.rows) for group in groups]
    settled = totals.copy()
    for line in groups.unfinished:
        settled[line] = groups[line].settled
    cells = [
        TableCell(str(total) if done == total else f"{done}/{total}", done)
        for total, done in zip(totals, settled, strict=True)
    ]
    return Column(name="seeds", title="seeds"), cells


def _column(groups: Lines, name: str, direction: Direction, *, is_metric: bool) -> tuple[Column, list[TableCell], bool]:
    """The column with its cells, and whether its best could be marked (or needs no mark)."""
    known = detail(groups, name)
    counts = sample_counts(groups, name) if is_metric and depends_on_count(groups, name) else ""
    title = (
        name
        if name in groups.axes.values()
        else heading(name, unit=known.unit if known is not None else "", counts=counts)
    )
    column = Column(name=name, title=title, direction=direction)
    if not is_metric:
        column = replace(column, key=name in groups.axes)
        return column, [_base_cell(g, name, mean) for g, mean in zip(groups, groups.means(name), strict=True)], True
    known_here = groups.estimates(name)
    count = sum(value is not None for value in known_here.values)
    marked = direction != "none" and count > 1 and role_of(groups, name) != "rate"  # few bits are no merit alone
    best: set[int] = set()
    if marked and len(groups) <= MOST:
        best = set(best_of([group.entry(name) for group in groups], direction))
    for line in groups.by_sample(name):
        groups[line].entry(name).forget_samples()  # of all columns together they may be gigabytes
    of_priors = known is not None and known.role in OF_PRIORS
    doubted = {line for line in groups.doubtful if groups[line].doubts(name)}
    cells = []
    for i, (value, half) in enumerate(zip(known_here.values, known_here.halves, strict=True)):
        if value is None:
            cells.append(TableCell(text="withheld" if i in doubted else _no_value(groups[i], of_priors=of_priors)))
            continue
        text, margin = measured(value, half)
        if i in doubted:
            text = f"{text}{'±' if margin else ''}{margin}{DOUBT}"  # no terminal may shorten it to less
            cells.append(TableCell(text=text, value=value, best=i in best))
        else:
            cells.append(TableCell(text, value, margin, half, i in best))
    return column, cells, bool(best) or not marked


def _no_value(group: Group, *, of_priors: bool) -> str:
    return "–†" if of_priors and group.without_prior else "–‡" if group.stopped else "–"


def _base_cell(group: Group, name: str, value: float | None) -> TableCell:
    """The cell of a column that is no metric, in which the line's mean is `value`."""
    if value is None:
        text = group.common(name)
        return TableCell(text="–" if text is None else show(text), value=None if text is None else str(text))
    if name == "peak_memory_bytes":
        return TableCell(f"{value / 2**20:.0f} MiB", value)
    if name.endswith("seconds"):
        return TableCell(f"{value:.0f}" if value >= 100 else f"{value:.2g}", value)
    return TableCell(compact(value) if name.endswith(("parameters", "flops")) else brief(value), value)


def _axes(groups: Lines) -> tuple[list[str], dict[str, Any]]:
    """The axes whose values differ within the table, and those that are the same for all its lines.

    A requested `tsr` is neither: the exact one is a column of its own.
    """
    names = [axis for axis, column in groups.axes.items() if column != "axis_tsr"]
    varying = [axis for axis in names if any(group.axes.get(axis) != groups[0].axes.get(axis) for group in groups)]
    return varying, {axis: groups[0].axes[axis] for axis in names if axis not in varying}


def _sorted(groups: Lines, key: str | None, *, reverse: bool) -> list[Group]:
    if key is None:
        return list(groups)
    metric = detail(groups, key) is not None
    descending = (metric and direction_of(groups, key) == "higher") != reverse
    values: list[float | str | None] = []
    for group, mean in zip(groups, groups.means(key), strict=True):
        text = group.common(key) if mean is None else None
        values.append(mean if text is None else str(text))
    places = best_first(range(len(groups)), values.__getitem__, descending=descending)
    return [groups[place] for place in places]


def _sortable(value: Any) -> float | str | None:
    return value if value is None or is_number(value) else show(value)
