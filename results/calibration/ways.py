"""Tokenizers with several priors, or priors with several samplers: each such way is an outcome of its own."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import UserError
from ..groups import Group
from ..rows import Row


def ways(groups: Sequence[Group]) -> list[tuple[str, list[Group]]]:
    """The cells of one data set by how their priors differ along the axes of a grid ("guidance=2.0"), each with the
    cells that were made so; [("", groups)] where no tokenizer has two cells, so that nothing is counted twice.

    An option has one name whatever the prior: guidance of `ar` on codes and of `flow` on values are one way.
    """
    known = [job for group in groups if (job := tokenizer_job(group.rows[0]))]
    if len(set(known)) == len(known):
        return [("", list(groups))]
    result: dict[str, list[Group]] = {}
    for group in groups:
        result.setdefault(_way(group), []).append(group)
    return list(result.items()) if len(result) > 1 else [("", list(groups))]


def tokenizer_job(row: Row) -> str:
    """The id of the job that made the row's tokenizer, scrambled where it is; "" for none."""
    return row.jobs.get("scramble") or row.jobs.get("tokenizer", "")


def refuse_several(found: Sequence[str], what: str) -> None:
    """Raises UserError where priors differ in more than one way of `found`, since `what` is of one."""
    if len(set(found)) > 1:
        raise UserError(
            f"{what}, and priors differ here: {', '.join(way or 'the others' for way in dict.fromkeys(found))}; choose "
            "by --where, as in --where 'sampler~guidance 2' or by an axis's column"
        )


def _way(group: Group) -> str:
    prior = str(group.rows[0].get("prior"))
    parts = []
    for axis, value in group.axes.items():
        path = axis.split(".")
        if path[0] == "prior":
            name = ".".join(path[2:] if path[1:2] == [prior] else path[1:])
            parts.append(f"{name or 'prior'}={value}")
    return ", ".join(parts)
