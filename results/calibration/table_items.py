"""Tokenizers from the lines of a file of figures: their names, seeds, families and values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from ..display import printable
from ..errors import UserError
from .made import CODES
from .observations import Observation
from .table_cells import Column, is_named, number, shown
from .table_lines import Line, Sheet, wrong

SEED = "seed"
FAMILY = "family"
_NAMES = ("tokenizer", "name", "label", "model", "recipe")


def label_of(
    sheet: Sheet, lines: Sequence[Line], columns: Mapping[str, Column], *, taken: Sequence[str | None]
) -> str | None:
    """The column of names, which is none of the `taken`; without one of a usual name a column of text that tells lines
    apart, else None."""
    usual = next((name for name in _NAMES if name in sheet.header and name not in taken), None)
    if usual is not None:
        return usual

    def tells_apart(name: str) -> bool:
        keys = [(line[name], line.get(SEED)) for line in lines]
        return len(set(keys)) == len(keys) and all(is_named(line[name]) for line in lines)

    text = [name for name in sheet.header if columns[name].offender is not None and name not in (*taken, SEED, FAMILY)]
    return next((name for name in text if tells_apart(name)), None)


def items_of(
    sheet: Sheet, lines: Sequence[Line], names: Sequence[str], *, outcome: str, family: str | None, label: str | None
) -> tuple[list[Observation], list[str]]:
    """The observations with the columns `names`, and notes on what they lack. Lines of one name are one tokenizer's
    seeds if there is a column `seed`. Raises UserError for a name that stands in two lines without one."""
    filled = [line for line in lines if number(line[outcome]) is not None]
    notes = []
    if dropped := len(lines) - len(filled):
        notes.append(f"{dropped} lines without {printable(outcome)} are left out.")
    if label is None:
        notes.append("No column of names (tokenizer, name, …): tokenizers are called by their lines.")
    tokenizers = _by_name(sheet, filled, label, family)
    families = {members[0][family] for members in tokenizers.values()} if family is not None else set()
    alone = 0
    items = []
    for name, members in tokenizers.items():
        by_seed = {column: tuple(number(line[column]) for line in members) for column in names}
        values = {}
        for column in names:
            numbers = [value for value in by_seed[column] if value is not None]
            if column == CODES:
                _check_codes(sheet, members)
            if numbers:
                values[column] = math.fsum(numbers) / len(numbers)
        results = tuple(value for line in members if (value := number(line[outcome])) is not None)
        own = members[0][family] if family is not None else name
        if family is not None and not is_named(own):
            alone += 1
            own = _new(name, families)
        items.append(Observation(name=name, family=own, outcome=results, values=values, by_seed=by_seed))
    if alone:
        notes.append(f"{alone} tokenizers without a {printable(family or '')} are a family each.")
    return items, notes


def _by_name(sheet: Sheet, lines: Sequence[Line], label: str | None, family: str | None) -> dict[str, list[Line]]:
    result: dict[str, list[Line]] = {}
    for line in lines:
        if label is not None and not line[label]:
            raise wrong(sheet.path, line.number, label, "expected the tokenizer's name, and it is empty")
        name = line[label] if label is not None else f"line {line.number}"
        members = result.setdefault(name, [])
        if members:
            here = f"{sheet.path}: line {line.number}: {shown(name)}"
            if SEED not in line:
                raise UserError(f"{here} is there already; several seeds need a column 'seed'")
            for other in (line, *members):
                if not line[SEED] or not other[SEED]:
                    raise wrong(
                        sheet.path, other.number, SEED, f"{shown(name)} has several lines, and this one no seed"
                    )
            if any(line[SEED] == other[SEED] for other in members):
                raise UserError(f"{here} has seed {printable(line[SEED])} already")
            if family is not None and line[family] != members[0][family]:
                raise UserError(
                    f"{here} belongs to two families, {shown(members[0][family])} (line {members[0].number}) and "
                    f"{shown(line[family])}"
                )
        members.append(line)
    return result


def _check_codes(sheet: Sheet, members: Iterable[Line]) -> None:
    """Raises UserError where the column of this name does not say what a score takes it to say."""
    values = {number(line[CODES]) for line in members if number(line[CODES]) is not None}
    for line in members:
        if number(line[CODES]) not in (None, 0.0, 1.0) or len(values) > 1:
            raise wrong(
                sheet.path,
                line.number,
                CODES,
                f"{shown(line[CODES])}: it says whether latents are codes, 1 or 0 for all of a tokenizer's seeds; "
                "rename a column that says something else",
            )


def _new(name: str, families: set[str]) -> str:
    """A family's name that none has."""
    while name in families:
        name += "'"
    return name
