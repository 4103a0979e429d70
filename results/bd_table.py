"""The command `bd-rate`: the rate–distortion curves of finished runs against one of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from .bd_rate import BdRate, Curve, bd_rate
from .columns import known_columns, primary, rate_of, role_of
from .display import brief, measured, printable
from .errors import UserError, unknown
from .filters import select
from .formats import markdown
from .groups import Group, aggregate, direction_of, split
from .lines import check_protocols
from .metric import Direction
from .notes import ARROWS
from .rows import metric_names, rows
from .tables import Column, Table, TableCell

Format = Literal["md", "json"]


def bd_rate_text(
    dirs: Sequence[Path | str],
    *,
    metric: str | None = None,
    anchor: str | None = None,
    group: str | Sequence[str] = "label",
    rate: str | None = None,
    where: str | Sequence[str] | None = None,
    format: str = "md",
) -> str:
    """BD-rates of the curves in the output folders `dirs`: a table per suite and data set, or JSON.

    A curve is a value of the columns `group`, its points the cells that have it (means over seeds). `anchor` is the
    curve that the others are compared with, the first unless named; `metric` the quality, by which the table is ranked
    unless named; `rate` the bits, the real rate unless named. A curve that can't be compared has the reason in its
    line. Raises UserError for unknown columns, an unknown anchor, two protocols of the metric, and where there are no
    two curves.
    """
    if format not in get_args(Format):
        raise unknown("format", format, get_args(Format))
    chosen = select(rows(dirs), where)
    names = [name.strip() for name in (group.split(",") if isinstance(group, str) else group)]
    known = known_columns(aggregate(chosen))
    for name in names:
        if name not in known:
            raise unknown("column", name, known, where="--group")
    for option, column in (("--metric", metric), ("--rate", rate)):
        if column is not None and column not in metric_names(chosen):
            raise unknown("metric", column, metric_names(chosen), where=option)
    compared = [
        one
        for groups in split(aggregate(chosen))
        if (one := _compared(groups, metric, anchor, names, rate)) is not None
    ]
    if not compared and anchor is not None:
        labels = sorted({_label(one, names) for one in aggregate(chosen)})
        if anchor not in labels:
            raise unknown("curve", anchor, labels, where="--anchor")
    if not compared:
        raise UserError("there are no two curves with a rate and a quality to compare")
    if format == "json":
        return json.dumps([line for _, lines in compared for line in lines], indent=2)
    return markdown([table for table, _ in compared])


def _compared(
    groups: Sequence[Group], metric: str | None, anchor: str | None, names: Sequence[str], rate: str | None
) -> tuple[Table, list[dict[str, Any]]] | None:
    """One table with its lines for programs; None where this data set has no two curves, or not the anchor."""
    rate = rate if rate is not None else rate_of(groups)
    metric = metric if metric is not None else primary(groups)
    if rate is None or metric is None:
        return None
    for name, option in ((rate, "--rate"), (metric, "--metric")):
        if direction_of(groups, name) == "none":
            raise UserError(f"{option} {name}: no direction of it is better; name a column that has one")
    if role_of(groups, metric) == "rate":
        raise UserError(f"--metric {metric}: it is a rate; name a quality, as in psnr")
    check_protocols(groups, [metric])
    curves = _curves(groups, rate, metric, names)
    first = anchor if anchor is not None else next(iter(curves), None)
    if len(curves) < 2 or first not in curves:
        return None
    lines: list[dict[str, Any]] = []
    for label, curve in curves.items():
        if label != first:
            try:
                lines.append(_line(curve, bd_rate(curves[first], curve)))
            except UserError as error:
                lines.append({"curve": label, "points": len(curve.rates), "bd_rate": None, "reason": str(error)})
    facts = {"suite": groups[0].suite, "dataset": groups[0].dataset, "anchor": first, "metric": metric, "rate": rate}
    return _table(groups[0], curves[first], metric, rate, lines, direction_of(groups, metric)), [
        {**facts, **line} for line in lines
    ]


def _curves(groups: Sequence[Group], rate: str, metric: str, names: Sequence[str]) -> dict[str, Curve]:
    points: dict[str, list[Group]] = {}
    for group in groups:
        if group.mean(rate) is not None and group.mean(metric) is not None:
            points.setdefault(_label(group, names), []).append(group)
    higher = direction_of(groups, metric) == "higher"
    return {
        label: Curve(
            label=label,
            rates=[one.entry(rate) for one in members],
            qualities=[one.entry(metric) for one in members],
            higher=higher,
        )
        for label, members in points.items()
    }


def _label(group: Group, names: Sequence[str]) -> str:
    values = [group.label if name == "label" else printable(str(group.common(name))) for name in names]
    return ", ".join(values)


def _line(curve: Curve, result: BdRate) -> dict[str, Any]:
    interval = None if result.low is None or result.high is None else [result.low, result.high]
    return {
        "curve": curve.label,
        "points": len(curve.rates),
        "bd_rate": result.value,
        "interval": interval,
        "between": list(result.between),
        "overlap": result.overlap,
    }


def _table(
    group: Group, anchor: Curve, metric: str, rate: str, lines: Sequence[dict[str, Any]], direction: Direction
) -> Table:
    columns = (
        Column(name="curve", title="curve", number=False, key=True),
        Column(name="points", title="points"),
        Column(name="bd_rate", title=f"BD-rate against {anchor.label} [%]"),
        Column(name="interval", title="95 % interval"),
        Column(name="between", title=f"over {metric}"),
    )
    text = (
        f"BD-rate: more {rate} than {anchor.label} ({len(anchor.rates)} points) at equal {metric} {ARROWS[direction]}"
    )
    notes = [f"{text}, in per cent, below 0 fewer: the mean over the quality that both reach (PCHIP on log rate)."]
    notes += [f"No BD-rate: {line['reason']}." for line in lines if "reason" in line]
    if any("reason" not in line and line["interval"] is None for line in lines):
        notes.append("No interval: neither values by sample nor several seeds.")
    return Table(
        suite=group.suite,
        dataset=group.dataset,
        modality=group.modality,
        groups=(),
        columns=columns,
        lines=tuple(_cells(line) for line in lines),
        common={},
        ranked_by=None,
        notes=tuple(notes),
    )


def _cells(line: dict[str, Any]) -> tuple[TableCell, ...]:
    texts = [line["curve"], str(line["points"])]
    if "reason" in line:
        return tuple(TableCell(text=text) for text in (*texts, "–", "–", "–"))
    low, high = line["interval"] or (None, None)
    half = None if low is None or high is None else (high - low) / 2
    value = f"{measured(line['bd_rate'], half)[0]}"
    ends = "–" if low is None or high is None else f"{measured(low, half)[0]} to {measured(high, half)[0]}"
    reach = f"{brief(line['between'][0])} to {brief(line['between'][1])} ({line['overlap']:.0%})"
    return tuple(TableCell(text=text) for text in (*texts, value, ends, reach))
