"""Which columns a table shows: the field's, in the field's order, as far as the modality has them."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import get_args

from .comparable import SCORE, incomparable
from .errors import UserError, unknown
from .groups import Group, detail, direction_of
from .lines import as_lines, check_protocols, protocols_of
from .metric import Role, Shown
from .rows import BASE, COST, IDENTITY, SPEC, column_names

# In the order of the page: what was stored, how well it came back, what a prior made of it, what explains that.
_ROLES: tuple[Role, ...] = get_args(Role)
# A table is read for these, for what declares no role and for a score: two protocols in one table are refused.
_COMPARED: tuple[Role, ...] = ("distortion", "distribution", "generation", "")


def default_columns(groups: Sequence[Group]) -> list[str]:
    """The columns of a table in print: TSR, elements, the real rate, parameters and seconds; then the metrics that are
    not for those who ask, by role. Nominal bits are an upper bound that may be far off: they are for those who ask."""
    metrics, lines = _by_role(groups), as_lines(groups)
    stored = [name for name in metrics if role_of(groups, name) == "rate"]
    names = dict.fromkeys(["tsr", "elements", *stored, "parameters", "seconds", *metrics])
    return [name for name in names if lines.has(name)]


def role_of(groups: Sequence[Group], metric: str) -> Role:
    """What the metric is about, as its records say."""
    return _place(groups, metric)[0]


def leads(groups: Sequence[Group], metric: str) -> bool:
    """Whether the metric comes before others of its role."""
    return _place(groups, metric)[1] == "first"


def rate_of(groups: Sequence[Group]) -> str | None:
    """The real rate in its modality's unit, which leads its role; None where none was measured."""
    shown = _by_role(groups)
    return next((name for name in shown if role_of(groups, name) == "rate" and leads(groups, name)), None)


def must_agree(groups: Sequence[Group], metric: str) -> bool:
    """True for metrics that tables are read for: a table with two protocols of one of them is refused. Of others
    (proxies, a prior's losses, use of codes) that nobody asked for, the column is left out."""
    return role_of(groups, metric) in _COMPARED or metric == SCORE


def mixed_metrics(groups: Sequence[Group]) -> list[str]:
    """The metrics that keep the lines from standing in one table: measured by several protocols where these must agree
    (rates' may differ)."""
    names = as_lines(groups).metric_names
    several = (name for name in names if len(protocols_of(groups, name)) > 1)
    return [name for name in several if must_agree(groups, name) and role_of(groups, name) != "rate"]


def depends_on_count(groups: Sequence[Group], metric: str) -> bool:
    """True for metrics whose expectation changes with the number of samples: titles name it, `gfd_<net>@256`."""
    return role_of(groups, metric) == "distribution"


def chosen_columns(groups: Sequence[Group], columns: str | Sequence[str] | None, known: Sequence[str]) -> list[str]:
    """The table's columns: the default ones, "all", or those named (`rfd_*` stands for all that match).

    `known` are the columns of all tables together: a name outside raises UserError; one that this table lacks is left
    out, and so are the columns that every table opens with (recipe, seed, axes).
    """
    if columns is None:
        return default_columns(groups)
    present, lines = _measured(groups), as_lines(groups)
    if columns == "all":
        return [name for name in (*SPEC, *present, *COST) if lines.has(name)]
    flat = {name for name in BASE if name not in IDENTITY}
    return [name for name in matching(columns, known) if name in present or name in flat]


def matching(columns: str | Sequence[str], known: Sequence[str]) -> list[str]:
    """The names in `columns` (a list, or text with commas), with patterns filled in. Raises UserError if unknown."""
    names = columns.split(",") if isinstance(columns, str) else columns
    matches: list[str] = []
    for name in (name.strip() for name in names):
        matching_name = [column for column in known if fnmatchcase(column, name)]
        if not matching_name:
            raise unknown("column", name, known)
        matches += matching_name
    return list(dict.fromkeys(matches))


def primary(groups: Sequence[Group]) -> str | None:
    """The metric that a table is ranked by unless told: its first distortion, else the first that it shows, else any;
    always one with a direction that says how good something is, as a rate does not, and if there is one, one by which
    the lines may be compared."""
    order = dict.fromkeys([*_by_role(groups), *_measured(groups)])
    directed = [n for n in order if direction_of(groups, n) != "none" and role_of(groups, n) != "rate"]
    distortions = [name for name in directed if role_of(groups, name) == "distortion"]
    preferred = [*distortions, *directed]
    return next((name for name in preferred if not incomparable(groups, name)), next(iter(preferred), None))


def front_axes(groups: Sequence[Group], axes: Sequence[str] | None, known: Sequence[str]) -> tuple[str, ...]:
    """The Pareto front's axes: the real rate against the primary metric unless told; () where the table lacks one.

    Raises UserError on an unknown name, a single axis, one of which no direction is known, or one by which the lines
    may not be compared.
    """
    if axes is None:
        rate, first = rate_of(groups), primary(groups)
        return (rate, first) if rate is not None and first is not None and not incomparable(groups, first) else ()
    axes = [name.strip() for name in axes]
    for name in axes:
        if name not in known:
            raise unknown("column", name, known, where="Pareto front")
    if len(set(axes)) == 1:
        raise UserError(f"Pareto front: {axes[0]!r} alone has no front; name two columns, as in real_bits,psnr")
    if any(all(group.mean(name) is None for group in groups) for name in axes):
        return ()
    check_protocols(groups, axes)
    for name in axes:
        if direction_of(groups, name) == "none":
            raise UserError(f"Pareto front: of {name!r} no direction is better; name a column that has one")
        if reason := incomparable(groups, name):
            raise UserError(f"Pareto front: lines may not be compared by {name!r}, since {reason}")
    return tuple(axes)


def known_columns(groups: Sequence[Group]) -> list[str]:
    """All flat columns of the groups' rows together."""
    return column_names([row for group in groups for row in group.rows])


def _by_role(groups: Sequence[Group]) -> list[str]:
    """The metrics that tables show unless told, by role, those that lead their role first."""
    places = {name: _place(groups, name) for name in _measured(groups)}
    shown = [name for name, (_, when) in places.items() if when != "asked"]
    return sorted(shown, key=lambda name: (_ROLES.index(places[name][0]), places[name][1] != "first"))


def _place(groups: Sequence[Group], metric: str) -> tuple[Role, Shown]:
    known = detail(groups, metric)
    return ("", "default") if known is None else (known.role, known.shown)


def _measured(groups: Sequence[Group]) -> list[str]:
    lines = as_lines(groups)
    return [name for name in lines.metric_names if lines.has(name)]
