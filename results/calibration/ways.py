"""Tokenizers with several priors, or priors with several samplers: each such way is an outcome of its own."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from ..errors import UserError
from ..groups import Group
from ..rows import Row


def ways(groups: Sequence[Group]) -> list[tuple[str, list[Group]]]:
    """The cells of one data set by how their priors differ, each with the cells that were made so; [("", groups)] where
    no tokenizer has two cells, so that nothing is counted twice.

    Priors differ along the axes of a grid ("guidance=2.0"), or because two entries ask for two priors of one tokenizer
    ("prior=mar", "prior=mar (2)"): the one whose kind most tokenizers have is their usual one. An option has one name
    whatever the prior: guidance of `ar` on codes and of `flow` on values are one way. Cells that differ in nothing but
    their names are one (`once`).
    """
    groups = once(groups)
    if not _several(groups):
        return [("", groups)]
    result: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        result[_way(group)].append(group)
    along_axes = list(result.items()) if len(result) > 1 else [("", groups)]
    return [(", ".join(filter(None, (way, own))), part) for way, all_of in along_axes for own, part in _own(all_of)]


def once(groups: Sequence[Group]) -> list[Group]:
    """The cells without those that are of the same tokenizer and have the same outcome as an earlier one, which an
    entry under another label makes."""
    seen = set[tuple[str, str]]()
    kept = []
    for group in groups:
        same = (tokenizer_job(group.rows[0]), _outcome_job(group.rows[0]))
        if not same[0] or same not in seen:
            kept.append(group)
        seen.add(same)
    return kept


def tokenizer_job(row: Row) -> str:
    """The id of the job that made the row's tokenizer, scrambled where it is; "" for none."""
    return row.jobs.get("scramble") or row.jobs.get("tokenizer", "")


def refuse_several(found: Sequence[str], what: str) -> None:
    """Raises UserError where priors differ in more than one way of `found`, since `what` is of one."""
    if len(set(found)) > 1:
        raise UserError(
            f"{what}, and priors differ here: {', '.join(way or 'the others' for way in dict.fromkeys(found))}; choose "
            "by --where, as in --where 'sampler~guidance 2', prior=flow, or by an axis's column"
        )


def _outcome_job(row: Row) -> str:
    return row.jobs.get("generation") or row.jobs.get("prior", "")


def _several(groups: Sequence[Group]) -> bool:
    known = [job for group in groups if (job := tokenizer_job(group.rows[0]))]
    return len(set(known)) < len(known)


def _own(groups: list[Group]) -> list[tuple[str, list[Group]]]:
    """Cells by what priors their entries ask for, where some tokenizers have several: "" is each one's usual prior."""
    if not _several(groups):
        return [("", groups)]
    by_tokenizer: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        by_tokenizer[tokenizer_job(group.rows[0]) or str(id(group))].append(group)
    frequency = Counter(name for cells in by_tokenizer.values() for name in {_prior(cell) for cell in cells})
    result: dict[str, list[Group]] = {"": []}
    for cells in by_tokenizer.values():
        usual, *others = sorted(cells, key=lambda cell: -frequency[_prior(cell)])  # of like ones the first
        result[""].append(usual)
        count = Counter([_prior(usual)])
        for cell in others:
            count[_prior(cell)] += 1
            again = f" ({count[_prior(cell)]})" if count[_prior(cell)] > 1 else ""
            result.setdefault(f"prior={_prior(cell)}{again}", []).append(cell)
    return list(result.items())


def _prior(group: Group) -> str:
    return str(group.rows[0].get("prior"))


def _way(group: Group) -> str:
    prior = _prior(group)
    parts = []
    for axis, value in group.axes.items():
        path = axis.split(".")
        if path[0] == "prior":
            name = ".".join(path[2:] if path[1:2] == [prior] else path[1:])
            parts.append(f"{name or 'prior'}={value}")
    return ", ".join(parts)
