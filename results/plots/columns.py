"""A column in a picture: its axis' text, its protocol, its numbers with intervals; and what a group is called."""

from __future__ import annotations

from collections.abc import Sequence

from ..columns import depends_on_count
from ..comparable import incomparable
from ..display import show
from ..errors import UserError, unknown
from ..groups import Group, detail, direction_of
from ..headings import heading, name_of
from ..lines import measurements, sample_counts
from ..notes import ARROWS
from ..rows import Row, axis_column, column_names, is_number, metric_names
from ..statistics import Estimate, mean_interval

_UNITS = {"peak_memory_bytes": "bytes"}  # tables have it in the cells


def names_of(group: str | Sequence[str]) -> list[str]:
    """The columns in a list, or in a text with commas."""
    return [name.strip() for name in (group.split(",") if isinstance(group, str) else group)]


def check_known(table: Sequence[Row], columns: Sequence[tuple[str, str]]) -> None:
    """Raises UserError for an unknown column; each is an option with what it names."""
    known = column_names(table)
    for option, name in columns:
        if name not in known:
            raise unknown("column", name, known, where=option)


def check_numbers(table: Sequence[Row], columns: Sequence[tuple[str, str]]) -> None:
    """Raises UserError for a column of texts."""
    for option, name in columns:
        values = [row[name] for row in table if row.get(name) is not None]
        if values and not any(is_number(value) for value in values):
            raise UserError(f"{option} {name}: expected a column of numbers, and this one has {show(values[0])!r}")


def title_of(group: Group) -> str:
    """What stands above a panel: suite, data set, and modality where it is not the data set's name."""
    modality = "" if group.dataset == group.modality else f" ({group.modality})"
    return f"{group.suite} · {group.dataset}{modality}"


def name_by(group: Group, names: Sequence[str]) -> str:
    """The group's name by the columns `names`: the first one's value, and those of others that it has, with their
    columns."""
    values = [group.label if name == "label" else show(group.common(name)) for name in names]
    more = [f"{name_of(name)} {value}" for name, value in zip(names[1:], values[1:], strict=True) if value]
    return ", ".join([values[0], *more])


def name_with(group: Group, options: Sequence[str]) -> str:
    """The group's label with its values of the columns `options`, those that differ."""
    differ = [(axis, value) for axis, value in group.axes.items() if axis_column(axis) in options]
    return ", ".join([group.label, *(f"{name_of(axis.replace('.', '_'))} {show(value)}" for axis, value in differ)])


def differing(groups: Sequence[Group]) -> list[str]:
    """The columns of options, and recipe and label, that have several values among the groups."""
    axes = dict.fromkeys(axis for group in groups for axis in group.axes)
    columns = {axis_column(axis): [show(group.axes.get(axis)) for group in groups] for axis in axes}
    columns |= {name: [getattr(group, name) for group in groups] for name in ("recipe", "label")}
    return [name for name, values in columns.items() if len(set(values)) > 1]


def only(alike: Sequence[Group], place: str, taken: Sequence[str], names: Sequence[str]) -> Group:
    """The one group at a place of a picture. Raises UserError where there are more, with what tells them apart besides
    the columns `taken` and `names`, the latter as an addition to --group."""
    if len(alike) == 1:
        return alike[0]
    more = [name for name in differing(alike) if name not in (*taken, *names)]
    hint = f"; tell them apart with --group {','.join([*names, *more])}" if more else ""
    raise UserError(f"{len(alike)} points of {place}{hint}")


def estimate_of(group: Group, name: str) -> Estimate | None:
    """The column's mean over seeds with its interval; None without a number."""
    if name in metric_names(group.rows):
        return group.estimate(name)
    values = list(group.values(name).values())
    return mean_interval(values) if values else None


def axis_label(groups: Sequence[Group], name: str) -> str:
    """The column's name in words with the samples that it was measured on, its unit, and which way is better."""
    metric = detail(groups, name)
    counts = sample_counts(groups, name) if metric is not None and depends_on_count(groups, name) else ""
    unit = _UNITS.get(name, "") if metric is None else metric.unit
    text = heading(name, unit=unit, counts=counts)
    arrow = "" if metric is None or incomparable(groups, name) else ARROWS[direction_of(groups, name)]
    return f"{text} {arrow}".strip()


def protocol_of(groups: Sequence[Group], name: str) -> str:
    """The column's protocol; those of a rate, which lines may have by several estimates, each with its recipes."""
    recipes: dict[str, list[str]] = {}
    for group, metric in measurements(groups, name):
        recipes.setdefault(metric.protocol, []).append(group.title)
    if len(recipes) < 2:
        return next((f"{name}: {protocol}" for protocol in recipes if protocol), "")
    parts = [f"{protocol} ({', '.join(dict.fromkeys(lines))})" for protocol, lines in recipes.items()]
    return f"{name}: {'; '.join(parts)}"


def without(groups: Sequence[Group], name: str, others: Sequence[str]) -> str:
    """A note of the groups that lack a value of `name`, and have those of all `others`; "" where there are none."""
    absent = [
        group.title
        for group in groups
        if group.mean(name) is None and all(group.mean(other) is not None for other in others)
    ]
    return f"not drawn, without a value of {name}: {', '.join(dict.fromkeys(absent))}" if absent else ""


def intervals_note(estimates: Sequence[Estimate], drawn: str = "bars") -> str:
    """What the intervals are over, and as what they are `drawn`."""
    seeds = sorted({estimate.n for estimate in estimates})
    counts = "–".join(dict.fromkeys(map(str, (seeds[0], seeds[-1]))))
    spread = f"over {counts} seeds" if seeds[-1] > 1 else "within the run (one seed)"
    return f"{drawn}: 95 % interval {spread}"


def untrained(groups: Sequence[Group]) -> bool:
    """Whether no group's tokenizer has parameters (codecs, the identity), as their records say."""
    return all(group.mean("parameters") == 0 for group in groups)
