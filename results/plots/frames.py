"""Quality by place in the clip: a metric's mean at each frame, with where latent positions end."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import UserError, unknown
from ..groups import Group, aggregate, split
from ..lines import check_protocols
from ..rows import Row, metric_names
from ..statistics import mean_interval
from ..store import Store
from .columns import (
    axis_label,
    check_known,
    differing,
    intervals_note,
    name_by,
    name_with,
    names_of,
    only,
    protocol_of,
    title_of,
    untrained,
)
from .panels import Line, Panel, Point

_SUFFIX = "_by_frame"


def frame_panels(table: Sequence[Row], *, y: str = "psnr", group: str | Sequence[str] | None = None) -> list[Panel]:
    """A panel per suite and data set of clips whose records have `y` by frame, a line per value of the columns `group`
    (unless told the label and the options that differ). Raises UserError as `results.plot.plot` does, and where no
    record has it."""
    names = None if group is None else names_of(group)
    check_known(table, [("--group", name) for name in names or ()])
    measured = {id(row): _by_frame(row) for row in table}
    known = dict.fromkeys(name for of_row in measured.values() for name in of_row)
    if not known:
        raise UserError("--kind frames: no record here has a metric by frame; clips have, in the folder of their run")
    if y not in known:
        raise unknown("metric by frame", y, list(known), where="--y")
    drawn = []
    for groups in split(aggregate(table)):
        values = {id(one): [measured[id(row)][y] for row in one.rows if y in measured[id(row)]] for one in groups}
        if any(values.values()):
            drawn.append(_panel([one for one in groups if values[id(one)]], values, y, names))
    return drawn


def ends_of_positions(downsample: str, frames: int) -> tuple[int, ...]:
    """After how many frames each latent position ends but the last, of a column `downsample` ("4", "5x4x4"): 4, 8 of
    12 frames; 1, 5 of 9, where the first position has one frame alone. () where frames do not tell."""
    step = int(downsample.partition("x")[0])
    if frames % step == 0:
        return tuple(range(step, frames, step))
    return tuple(range(1, frames, step)) if frames % step == 1 else ()


def _by_frame(row: Row) -> dict[str, list[float]]:
    """The row's metrics by frame, by name; {} without a finished record of reconstructions."""
    kind, _, key = row.jobs.get("reconstruction", "").partition("/")
    record = Store(row["source"]).load(kind, key) if key and row["modality"] == "video" else None
    extra = {} if record is None else record.extra
    return {name.removesuffix(_SUFFIX): list(values) for name, values in extra.items() if name.endswith(_SUFFIX)}


def _panel(groups: Sequence[Group], values: dict[int, list[list[float]]], y: str, names: Sequence[str] | None) -> Panel:
    if y in metric_names(row for group in groups for row in group.rows):
        check_protocols(groups, [y])
    options = differing(groups)
    alike: dict[str, list[Group]] = {}
    for one in groups:
        name = name_by(one, names) if names is not None else name_with(one, options)
        alike.setdefault(name, []).append(one)
    lines = []
    for name, same in alike.items():
        member = only(same, f"{name!r}", (), names or ["label"])
        lines.append(_line(name, member, values[id(member)]))
    notes = [protocol_of(groups, y), intervals_note([point.y for line in lines for point in line.points])]
    if any(line.ends for line in lines):
        notes.append("dotted: from the last frame of a latent position to the first of the next")
    return Panel(
        title=title_of(groups[0]),
        x_label="frame",
        y_label=axis_label(groups, y),
        notes=tuple(note for note in notes if note),
        lines=tuple(lines),
    )


def _line(name: str, group: Group, seeds: Sequence[Sequence[float]]) -> Line:
    frames = zip(*seeds, strict=True)  # one value a seed
    points = [Point(x=float(number), y=mean_interval(values)) for number, values in enumerate(frames, 1)]
    downsample = group.common("downsample")
    on_grid = downsample is not None and group.common("topology") == "grid"
    ends = ends_of_positions(str(downsample), len(points)) if on_grid else ()
    return Line(label=name, points=tuple(points), untrained=untrained([group]), ends=ends)
