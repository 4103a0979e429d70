"""A calibration's observations from a CSV of anybody's figures: one tokenizer (or one of its seeds) per line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..display import printable
from ..errors import UserError, unknown
from ..filters import select_lines
from ..metric import Direction
from .made import CODES
from .observations import (
    FAMILY_MEAN,
    Observations,
    Predictor,
    choose,
    is_outcome,
    matches,
    ways,
    with_family_mean,
)
from .table_cells import Column, columns_of, left_out, require_numbers
from .table_items import FAMILY, SEED, items_of, label_of
from .table_lines import PREAMBLE as PREAMBLE
from .table_lines import Line, Sheet, read_sheet

EARNED = "earned_"  # how columns begin that say whether a prior earned its outcome
_SE = "_se"
_DIRECTIONS: Mapping[str, Direction] = {"lower": "lower", "higher": "higher", "none": "none"}


def read_table(
    path: Path,
    *,
    outcome: str | None,
    family: str | None = None,
    direction: Direction | None = None,
    proxies: Sequence[str] | None = None,
    baselines: Sequence[str] | None = None,
    fixed: Sequence[str] = (),
    higher: Sequence[str] = (),
    lower: Sequence[str] = (),
    where: Sequence[str] = (),
) -> Observations:
    """The observations of a CSV file with a header, of the lines that meet every filter of `where` (`filters.select`).

    `outcome` is the column to predict; `family` the column of families (none: every tokenizer is its own, as one is
    whose family is not given). A column `seed` makes several lines of one tokenizer its seeds. `proxies` and
    `baselines` are names or patterns; without them all columns of numbers but outcomes are taken, those of rate,
    distortion, size and date as baselines. `fixed` are the columns that partial correlations hold fixed. `higher` and
    `lower` name the predictors of which that way is said to be better, and `direction` which way the outcome is
    (lower, unless told). What none of these says the file may: lines before its header such as `# lower: viv, rfd_*`
    (or `modality`, `outcome`, `better`, `family`, `given`, `higher`, `baselines`, what proxies cost: `seconds`,
    `share_of_flops`, as `viv=0.2`, how they were measured: `protocol`, as `viv = of all latents`, and of what:
    `domain`, `signal = 3072` values, `samples = 256`), as `table_writer` leaves them.

    Raises UserError for a file that is no such table, an unknown column, and a column that is named and holds something
    else than numbers.
    """
    sheet = read_sheet(path)
    said, header = sheet.said, sheet.header
    _refuse_generated(sheet)
    lines = _chosen(sheet, where)
    columns = columns_of(sheet, lines)
    asked = _Asked.of(sheet, outcome, family, fixed)
    for option, names in (("--proxies", proxies), ("--baselines", baselines), ("--higher", higher), ("--lower", lower)):
        _check_named(sheet, columns, option, names or (), asked.outcome)
    require_numbers(path, asked.place("--outcome", "outcome"), columns[asked.outcome])
    for name in asked.fixed:
        require_numbers(path, asked.place("--given", "given"), columns[name])
    label = label_of(sheet, lines, columns, taken=(asked.outcome, asked.family))
    special = {asked.outcome, asked.family, SEED, label}
    errors = {name for name in header if name.endswith(_SE) and name.removesuffix(_SE) in header}
    numbers = [n for n in header if columns[n].is_numeric and n not in special and n not in errors]
    if baselines is None and "baselines" in said.texts:
        own = said.listed("baselines")
        baselines = [n for n in numbers if matches(n, own) and not matches(n, proxies or ())]
    chosen, dull = choose(numbers, proxies, baselines, where=str(path))
    others = [name for name in numbers if is_outcome(name) and name not in (*chosen, *dull) and proxies is None]
    kind = [CODES] if CODES in numbers else []  # whatever is compared, a score needs it
    names = [*dict.fromkeys([*chosen, *dull, *asked.fixed, *kind])]
    items, notes = items_of(sheet, lines, names, outcome=asked.outcome, family=asked.family, label=label)
    if others:
        notes.append(f"Outcomes themselves, so no predictors: {', '.join(map(printable, others))}.")
    if errors:
        notes.append(f"Standard errors, so no predictors: {', '.join(map(printable, sorted(errors)))}.")
    if FAMILY in header and asked.family is None and not columns[FAMILY].is_numeric:
        notes.append(f"Families are not told apart: --family {FAMILY} takes them from the column of this name.")
        special.add(FAMILY)
    special.remove(asked.outcome)
    notes += left_out(columns, [n for n in header if n not in special and not n.startswith(EARNED.strip("_"))])
    better = _better(sheet, direction)
    predictors = _predictors(sheet, chosen, dull, {**_own_ways(sheet, notes), **_ways_of(sheet, higher, lower)})
    if with_family_mean(items):
        predictors.append(Predictor(name=FAMILY_MEAN, direction=better, baseline=True))
    domain = _domain(sheet)
    return Observations(
        title=path.name,
        outcome=asked.outcome,
        direction=better,
        items=tuple(items),
        predictors=tuple(predictors),
        fixed=asked.fixed,
        notes=(*sheet.notes, *notes),
        modality=said.one("modality") or "",
        signal=domain.get("signal"),
        samples=domain.get("samples"),
    )


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """The columns that a calibration is asked for, and which of them the file names itself."""

    outcome: str
    family: str | None
    fixed: tuple[str, ...]
    own: Mapping[str, str]

    @classmethod
    def of(cls, sheet: Sheet, outcome: str | None, family: str | None, fixed: Sequence[str]) -> _Asked:
        said, header, path = sheet.said, sheet.header, sheet.path
        given = {"outcome": outcome, "family": family, "given": fixed or None}
        own = {key: said.place(key) for key, value in given.items() if value is None and key in said.texts}
        outcome, family = outcome or said.one("outcome"), family or said.one("family")
        if outcome is None:
            known = ", ".join(name for name in header if is_outcome(name)) or ", ".join(header)
            raise UserError(f"{path}: --outcome: name the column to predict; the file has {printable(known)}")
        held = tuple(dict.fromkeys(fixed or (name for name in said.listed("given") if name != outcome)))
        asked = cls(outcome=outcome, family=family, fixed=held, own=own)
        named = [("--outcome", "outcome", outcome), *(("--given", "given", name) for name in held)]
        for option, key, name in [*named, *([("--family", "family", family)] if family is not None else [])]:
            if name not in header:
                raise unknown("column", name, header, where=f"{path}: {asked.place(option, key)}")
            if key != "outcome" and name == outcome:
                raise UserError(f"{path}: {asked.place(option, key)} {printable(name)}: that is the outcome itself")
        return asked

    def place(self, option: str, key: str) -> str:
        """Where a column is named, for messages."""
        return self.own.get(key, option)


def _refuse_generated(sheet: Sheet) -> None:
    if FAMILY_MEAN in sheet.header:
        raise UserError(
            f"{sheet.path}: column {FAMILY_MEAN}: a calibration makes a column of this name, of the outcomes of each "
            "tokenizer's family: rename yours"
        )


def _check_named(sheet: Sheet, columns: Mapping[str, Column], option: str, names: Sequence[str], outcome: str) -> None:
    """Raises UserError for a name, not a pattern, of a column that is no predictor."""
    for name in names:
        if name == outcome:
            more = ": --better says which way it is better" if option in ("--higher", "--lower") else ""
            raise UserError(f"{sheet.path}: {option} {printable(name)}: that is the outcome itself{more}")
        if name in columns:
            require_numbers(sheet.path, option, columns[name])


def _chosen(sheet: Sheet, where: Sequence[str]) -> list[Line]:
    try:
        left = select_lines(sheet.header, sheet.lines, where)
    except UserError as error:
        raise UserError(f"{sheet.path}: {error}") from None
    return [line for line in left if isinstance(line, Line)]


def _better(sheet: Sheet, direction: Direction | None) -> Direction:
    own = sheet.said.one("better")
    if own is not None and own not in _DIRECTIONS:
        raise UserError(f"{sheet.path}: {sheet.said.place('better')}: expected lower or higher, got {printable(own)!r}")
    return direction or _DIRECTIONS.get(own or "", "lower")


def _domain(sheet: Sheet) -> dict[str, int]:
    result = {}
    for name, texts in sheet.said.equalities("domain").items():
        if name not in ("signal", "samples") or len(texts) > 1 or not texts[0].isdecimal():
            raise UserError(
                f"{sheet.path}: {sheet.said.place('domain')}: expected signal = <values> or samples = <number>, each "
                f"once, got {printable(name)} = {printable(', '.join(texts))}"
            )
        result[name] = int(texts[0])
    return result


def _own_ways(sheet: Sheet, notes: list[str]) -> dict[str, Direction]:
    """Which way is better, as the file says; what it names and does not have is noted."""
    said = {key: sheet.said.listed(key) for key in ("higher", "lower")}
    for key, patterns in said.items():
        if absent := [p for p in patterns if not any(matches(name, [p]) for name in sheet.header)]:
            notes.append(f"The file's {key} names what is no column: {', '.join(map(printable, absent))}.")
    here = {key: [p for p in said[key] if any(matches(name, [p]) for name in sheet.header)] for key in said}
    return ways(sheet.header, here["higher"], here["lower"], where=f"{sheet.path}: # ")


def _ways_of(sheet: Sheet, higher: Sequence[str], lower: Sequence[str]) -> dict[str, Direction]:
    return ways(sheet.header, higher, lower, where=f"{sheet.path}: ")


def _predictors(
    sheet: Sheet, chosen: Sequence[str], dull: Sequence[str], directions: Mapping[str, Direction]
) -> list[Predictor]:
    seconds, flops = sheet.said.numbers("seconds"), sheet.said.numbers("share_of_flops")
    protocols = sheet.said.equalities("protocol")
    return [
        Predictor(
            name=name,
            direction=directions.get(name, "none"),
            baseline=name in dull,
            seconds=None if name in dull else seconds.get(name),
            share_of_flops=None if name in dull else flops.get(name),
            protocol="\n".join(protocols.get(name, ())),
        )
        for name in (*chosen, *dull)
    ]
