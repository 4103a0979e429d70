"""What the page knows of finished runs: tables, their columns, and a line per tokenizer, as plain data for JSON.

Numbers are decided where every table's are (`tables`, `groups`): the page shows them and computes none of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..columns import chosen_columns, depends_on_count, known_columns, leads, rate_of, role_of
from ..comparable import incomparable
from ..display import compact, files_line, measured, show
from ..errors import UserError
from ..groups import Group, aggregate, detail, direction_of, split
from ..headings import name_of, unit_of
from ..lines import measurements, sample_counts
from ..rows import COST, SPEC, Row, axis_column, metric_names
from ..tables import Table, TableCell, tables

_ABOUT = ("distortion", "distribution", "generation", "prior", "modelability", "latents", "probe")
_PLACES = ("elements", "positions", "tsr", "tsr_input", "bits_per_sample", "bits_per_element", "bitrate")
_OUTCOMES = ("distribution", "generation")  # what a prior made of the latents


# In the order of the explorer: results first, then what they cost, then which point of the grid it was.
_ORDER = ("rate", *_ABOUT, "", "cost", "shape", "axis")


@dataclass(frozen=True, kw_only=True)
class Section:
    """One data set of one suite: its groups in the order of their table, and what the page embeds of it.

    `table` is None where the lines can't stand in one table; `reason` then says why.
    """

    groups: tuple[Group, ...]
    table: Table | None
    reason: str
    plain: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One tokenizer on one data set: its id, which stays the same from report to report, and what is embedded."""

    id: str
    group: Group
    section: int
    plain: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What tells it from the other lines of its section: its title and the axes that differ between them."""
        return str(self.plain["name"])


@dataclass(frozen=True, kw_only=True)
class Model:
    """All sections and lines, and the columns that any of them has."""

    sections: tuple[Section, ...]
    lines: tuple[Line, ...]
    columns: tuple[Mapping[str, Any], ...]

    def lines_of(self, section: int) -> list[Line]:
        """The lines of one section, in its table's order."""
        return [line for line in self.lines if line.section == section]


def model(rows: Sequence[Row]) -> Model:
    """The model of a run's rows, or of several runs'. Raises UserError as `groups.aggregate` does."""
    groups = aggregate(rows)
    sections = tuple(_section(members) for members in split(groups))
    lines = tuple(line for place, section in enumerate(sections) for line in _lines(section, place))
    return Model(sections=sections, lines=lines, columns=tuple(_columns(sections, groups)))


def line_id(group: Group) -> str:
    """Ten characters that say which tokenizer on which data set it is, whatever else the report holds."""
    parts = [group.suite, group.dataset, group.modality, group.recipe, group.label, dict(group.axes)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:10]


def _section(groups: list[Group]) -> Section:
    rows = [row for group in groups for row in group.rows]
    try:
        (table,) = tables(rows)
        reason = ""
    except UserError as error:  # two protocols in one table: shown line by line, and nothing is ranked
        table, reason = None, str(error)
    ordered = tuple(groups) if table is None else table.groups
    outcome = _outcome(ordered)
    rate = rate_of(ordered)
    first = None if table is None else table.ranked_by
    compared = [name for name in (first, outcome) if name is not None]
    reasons = {name: text for name in compared if (text := incomparable(ordered, name))}
    counts = next((row.data for row in rows if "counts" in row.data), None)
    plain = {
        "title": f"{groups[0].suite} · {groups[0].dataset}",
        "suite": groups[0].suite,
        "dataset": groups[0].dataset,
        "modality": groups[0].modality,
        "rate": rate,
        "distortion": first,
        "outcome": outcome,
        "incomparable": reasons,
        "common": {} if table is None else {name: show(value) for name, value in table.common.items()},
        "notes": [reason] if table is None else list(table.notes),
        "reason": reason,
        "files": "" if counts is None else files_line(counts["counts"], counts.get("reasons", {})),
        "protocols": {name: _protocols(ordered, name) for name in metric_names(rows)},
    }
    return Section(groups=ordered, table=table, reason=reason, plain=plain)


def _outcome(groups: Sequence[Group]) -> str | None:
    """The metric that says how easily the latents are learned: the leading score of a prior's samples, else the
    leading proxy of modelability."""
    names = metric_names(row for group in groups for row in group.rows)
    valued = [name for name in names if any(group.mean(name) is not None for group in groups)]
    directed = [name for name in valued if direction_of(groups, name) != "none" and not name.startswith("fd_floor")]
    samples = [n for n in directed if role_of(groups, n) in _OUTCOMES and not n.startswith("r")]
    proxies = [n for n in directed if role_of(groups, n) == "modelability"]
    ordered = [*sorted(samples, key=lambda n: (role_of(groups, n) != "distribution", not leads(groups, n))), *proxies]
    return next(iter(ordered), None)


def _protocols(groups: Sequence[Group], metric: str) -> list[dict[str, Any]]:
    """Each protocol of the metric with its n and the lines that have it (`lines` is left out where all do)."""
    shared: dict[tuple[str, str], dict[str, Any]] = {}
    for group, one in measurements(groups, metric):
        entry = shared.setdefault((one.protocol, one.blind_to), {"text": one.protocol, "n": set(), "lines": {}})
        entry["n"].add(one.n)
        entry["lines"][line_id(group)] = None
    result = []
    for (_, blind), entry in shared.items():
        plain = {"text": entry["text"], "n": sorted(entry["n"] - {0})}
        if blind:
            plain["blind"] = blind
        if len(shared) > 1:
            plain["lines"] = list(entry["lines"])
        result.append(plain)
    return result


def _columns(sections: Sequence[Section], groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Every column that some line has a value in, in the tables' order."""
    names = dict.fromkeys(name for s in sections if s.groups for name in _shown(s))
    names |= dict.fromkeys(name for s in sections for name in chosen_columns(s.groups, "all", known_columns(s.groups)))
    axes = dict.fromkeys(axis_column(axis) for group in groups for axis in group.axes)
    deciding = {name for s in sections for name in _shown(s)}
    columns: list[dict[str, Any]] = []
    for name in dict.fromkeys((*(axis for axis in axes if axis != "axis_tsr"), *names)):
        known = detail(groups, name)
        numbered = known is not None and depends_on_count(groups, name)
        columns.append(
            {
                "name": name,
                "title": name_of(name) + (sample_counts(groups, name) if numbered else ""),
                "unit": unit_of(name, known.unit) if known is not None else _unit(name),
                "direction": direction_of(groups, name),
                "role": known.role if known is not None else _kind(name),
                "shown": name in deciding or name in axes,
            }
        )
    return sorted(columns, key=lambda column: (_ORDER.index(column["role"]), column["name"] in _PLACES))


def _shown(section: Section) -> list[str]:
    if section.table is None:
        return []
    skipped = ("#", "rank", "pareto", "recipe", "seeds", *section.groups[0].axes)
    return [column.name for column in section.table.columns if column.name not in skipped]


def _unit(name: str) -> str:
    if name.endswith("flops"):
        return "FLOPs"
    return "MiB" if name == "peak_memory_bytes" else unit_of(name, "s" if name.endswith("seconds") else "")


def _kind(name: str) -> str:
    if name in ("downsample", "channels"):
        return "shape"
    return "cost" if name in COST else "rate" if name in SPEC else "axis"


def _lines(section: Section, place: int) -> list[Line]:
    metrics = metric_names(row for group in section.groups for row in group.rows)
    others = [name for name in (*SPEC, *COST) if any(group.mean(name) is not None for group in section.groups)]
    result = []
    for number, group in enumerate(section.groups):
        cells: dict[str, Any] = {}
        for axis, value in group.axes.items():
            if axis_column(axis) != "axis_tsr":
                cells[axis_column(axis)] = _axis_cell(value)
        for name in others:
            if (mean := group.mean(name)) is not None:
                cells[name] = _number(name, mean)
        drawn = {} if section.table is None else _drawn(section.table, number)
        for name in metrics:
            if (estimate := group.estimate(name)) is not None:
                text, margin = measured(estimate.value, estimate.half)
                cells[name] = [estimate.value, text, margin, estimate.low, estimate.high, _best(drawn, name)]
        statuses = [str(row["status"]).partition(":")[0] for row in group.rows]
        plain = {
            "id": line_id(group),
            "section": place,
            "name": _name(section.groups, group),
            "label": group.label,
            "recipe": group.recipe,
            "axes": {axis: show(value) for axis, value in group.axes.items()},
            "seeds": [group.settled, len(group.rows)],
            "status": next((s for s in statuses if s != "finished"), "finished"),
            "rank": drawn["rank"].value if "rank" in drawn else None,
            "front": bool(drawn["pareto"].value) if "pareto" in drawn else False,
            "discrete": group.common("discrete"),
            "topology": group.common("topology"),
            "prior": group.common("prior"),
            "cells": cells,
        }
        result.append(Line(id=plain["id"], group=group, section=place, plain=plain))
    return result


def _name(groups: Sequence[Group], group: Group) -> str:
    alike = [other for other in groups if other.title == group.title]
    varying = [axis for axis in group.axes if any(other.axes.get(axis) != group.axes[axis] for other in alike)]
    return " ".join([group.title, *(f"{axis}={show(group.axes[axis])}" for axis in varying)])


def _drawn(table: Table, number: int) -> dict[str, TableCell]:
    return {column.name: cell for column, cell in zip(table.columns, table.lines[number], strict=True)}


def _best(drawn: Mapping[str, TableCell], name: str) -> int:
    return int(name in drawn and drawn[name].best)


def _axis_cell(value: Any) -> list[Any]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return [value if number else None, show(value)]


def _number(name: str, value: float) -> list[Any]:
    if name == "peak_memory_bytes":
        return [value / 2**20, f"{value / 2**20:.0f}"]
    if name.endswith(("parameters", "flops")):
        return [value, compact(value)]
    return [value, measured(value, None)[0]]
