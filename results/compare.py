"""Two runs against each other: for each tokenizer that both have, the paired difference of each metric."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from .columns import known_columns, leads, matching, primary
from .comparable import incomparable, other_latents
from .display import brief, measured
from .errors import UserError
from .groups import Group, aggregate, detail, direction_of, split
from .headings import heading, name_of
from .lines import protocols_of
from .metric import Direction
from .notes import ARROWS
from .rows import Row, metric_names
from .statistics import difference_interval, sign_of
from .tables import Column, Table, TableCell

_METHODS = {
    "samples": "sample by sample",
    "paired": "seed by seed",
    "welch": "over each run's own seeds",
    "independent": "as of independent runs",
}
_TEXT = ("recipe", "metric", "better")
_COLUMNS = ("#", "recipe", "metric", "A", "B", "B − A", "95 % interval", "better")


def comparison(first: Sequence[Row], second: Sequence[Row], columns: str | Sequence[str] | None = None) -> list[Table]:
    """A table per suite and data set of the run A: a line per tokenizer that B has too (by suite, data set, recipe,
    label and grid point) and metric, with B - A and its 95 % interval. Runs of one suite each may name it differently.

    Differences are taken sample by sample, or seed by seed, as far as both runs have kept them. Each interval is of its
    own. Metrics are those that lead tables, or those that `columns` names. Raises UserError where the runs share none.
    """
    ours, others = aggregate(first), aggregate(second)
    named_alike = any(len({group.suite for group in groups}) > 1 for groups in (ours, others))
    theirs = {_key(group, named_alike): group for group in others}
    known = sorted({*known_columns(ours), *known_columns(others)})
    named = None if columns is None else matching(columns, known)
    result = []
    for groups in split(ours):
        pairs = [(group, theirs[key]) for group in groups if (key := _key(group, named_alike)) in theirs]
        if any(_metrics(pair, named) for pair in pairs):
            alone = [group.title for group in groups if _key(group, named_alike) not in theirs]
            result.append(_table(pairs, alone, named))
    if not result:
        of = "" if named is None else f" that has {' or '.join(named)} in both"
        raise UserError(
            f"--compare: the two runs share no tokenizer on one data set (by recipe, label and grid point"
            f"{', in suites of one name' if named_alike else ''}){of}"
        )
    return result


def _key(group: Group, with_suite: bool) -> tuple[str, ...]:
    axes = json.dumps(group.axes, sort_keys=True)
    return group.suite if with_suite else "", group.dataset, group.modality, group.recipe, group.label, axes


def _metrics(pair: tuple[Group, Group], named: Sequence[str] | None) -> list[str]:
    both = [name for name in metric_names(pair[0].rows) if all(group.mean(name) is not None for group in pair)]
    if named is not None:
        return [name for name in named if name in both]
    return [name for name in both if leads([pair[0]], name) or name == primary([pair[0]])]


def _table(pairs: Sequence[tuple[Group, Group]], alone: Sequence[str], named: Sequence[str] | None) -> Table:
    lines = [line for pair in pairs for line in _lines(pair, named)]
    methods = dict.fromkeys(how for _, how in lines if how)
    notes = ["A and B are the folders in the order in which they are given; the interval is of the difference."]
    if methods:
        notes.append(f"Differences are taken {', '.join(methods)}.")
        differ = sum(bool(line[-1].text) for line, how in lines if how)
        compared = sum(bool(how) for _, how in lines)
        notes.append(
            f"{differ} of {compared} differences leave zero out. Each interval holds by itself: where nothing differs, "
            "one in twenty does so too."
        )
    reasons: dict[str, list[str]] = {}
    for pair in pairs:
        for name in _metrics(pair, named):
            if reason := incomparable(pair, name):
                reasons.setdefault(reason, []).append(name_of(name))
    notes += [f"Not compared: {', '.join(dict.fromkeys(names))}: {reason}." for reason, names in reasons.items()]
    if alone:
        notes.append(f"In A alone: {', '.join(dict.fromkeys(alone))}.")
    numbered = [(TableCell(text=str(i), value=i), *line) for i, (line, _) in enumerate(lines, 1)]
    groups = tuple(group for pair in pairs for group in pair[:1])
    return Table(
        suite=groups[0].suite,
        dataset=groups[0].dataset,
        modality=groups[0].modality,
        groups=groups,
        columns=tuple(
            Column(name=name, title=name, number=name not in _TEXT, key=name in ("#", "recipe", "metric"))
            for name in _COLUMNS
        ),
        lines=tuple(numbered),
        common={},
        ranked_by=None,
        notes=tuple(notes),
        brief=tuple(notes),
    )


def _lines(pair: tuple[Group, Group], named: Sequence[str] | None) -> Iterator[tuple[list[TableCell], str]]:
    """The cells of each of the pair's metrics, and how the difference was taken ("" where there is none)."""
    a, b = pair
    point = ", ".join(f"{axis} {value}" for axis, value in a.axes.items())
    for name in _metrics(pair, named):
        direction: Direction = direction_of([a], name)
        known = detail([a], name)
        title = f"{heading(name, unit=known.unit if known is not None else '')} {ARROWS[direction]}".strip()
        cells = [TableCell(text=f"{a.title} {point}".strip(), value=a.title), TableCell(text=title, value=name)]
        for group in pair:
            estimate = group.estimate(name)
            assert estimate is not None  # `_metrics` leaves others out
            text, margin = measured(estimate.value, estimate.half)
            cells.append(TableCell(text=text, margin=margin, value=estimate.value, half=estimate.half))
        protocols = {protocol for group in pair for protocol in protocols_of([group], name)}
        refused = "two protocols" if len(protocols) > 1 else ""
        refused = refused or ("other latents" if other_latents(pair, name) else "")
        refused = refused or ("one seed" if incomparable(pair, name) else "")
        difference = None if refused else difference_interval(b.entry(name), a.entry(name))
        if difference is None:
            yield [*cells, TableCell(text="–"), TableCell(text="–"), TableCell(text=refused or "not known")], ""
            continue
        better = ""
        if difference.significant and direction != "none":
            better = "B" if sign_of(direction) * difference.value > 0 else "A"
        elif difference.significant:
            better = "differs"
        value = TableCell(text=f"{difference.value:+.3g}", value=difference.value, best=bool(better))
        interval = TableCell(text=f"[{brief(difference.low)}, {brief(difference.high)}]", value=difference.low)
        yield [*cells, value, interval, TableCell(text=better, value=better)], _METHODS.get(difference.method, "")
