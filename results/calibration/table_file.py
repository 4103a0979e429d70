"""A calibration's observations from a CSV of anybody's figures: one tokenizer (or one of its seeds) per line."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..display import printable
from ..errors import UserError, unknown
from ..filters import select_lines
from ..metric import Direction
from .made import CODES
from .observations import (
    FAMILY_MEAN,
    Observation,
    Observations,
    Predictor,
    choose,
    is_outcome,
    matches,
    with_family_mean,
)

_NAMES = ("tokenizer", "name", "label", "model", "recipe")
_SEED = "seed"
PREAMBLE = re.compile(
    r"#[ \t]*(modality|outcome|family|given|higher|lower|seconds|share_of_flops):([^\r\n]*)(?:\r?\n|$)"
)
_LARGEST = 256 * 2**20  # bytes; a table of tokenizers has a few thousand lines


def read_table(
    path: Path,
    *,
    outcome: str | None,
    family: str | None = None,
    direction: Direction = "lower",
    proxies: Sequence[str] | None = None,
    baselines: Sequence[str] | None = None,
    fixed: Sequence[str] = (),
    higher: Sequence[str] = (),
    lower: Sequence[str] = (),
    where: Sequence[str] = (),
) -> Observations:
    """The observations of a CSV file with a header, of the lines that meet every filter of `where` (`filters.select`).

    `outcome` is the column to predict; `family` the column of families (none: every tokenizer is its own). A column
    `seed` makes several lines of one tokenizer its seeds. `proxies` and `baselines` are names or patterns; without
    them all columns of numbers but outcomes are taken, those of rate, distortion, size and date as baselines. `fixed`
    are the columns that partial correlations hold fixed. `higher` and `lower` name the predictors of which that way is
    said to be better. What none of these says the file may: lines before its header such as `# lower: viv, rfd_*` (or
    `modality`, `outcome`, `family`, `given`, `higher`, and what proxies cost: `seconds`, `share_of_flops`, as
    `viv=0.2`), as `table_writer` leaves them.

    Raises UserError for a file that is no such table, an unknown column, text in a column of numbers.
    """
    header, lines, said = _read(path)
    lines = _chosen(path, header, lines, where)
    outcome, family = outcome or said.get("outcome"), family or said.get("family")
    fixed = fixed or [name for name in _listed(said, "given") if name != outcome]
    ways = _ways(said, header, higher=higher, lower=lower)
    if outcome is None:
        known = ", ".join(name for name in header if is_outcome(name)) or ", ".join(header)
        raise UserError(f"{path}: --outcome: name the column to predict; the file has {printable(known)}")
    for option, name in (
        ("--outcome", outcome),
        ("--family", family),
        *(("--given", n) for n in fixed),
        *(("--higher", n) for n in higher),
        *(("--lower", n) for n in lower),
    ):
        if name is not None and name not in header:
            raise unknown("column", name, header, where=f"{path}: {option}")
    text = {name for name in header if not _is_numeric(lines, name)}
    for option, name in (("--outcome", outcome), *(("--given", name) for name in fixed)):
        if name in text:
            raise UserError(f"{path}: {option} {printable(name)}: expected a column of numbers, and it holds text")
    label = next((name for name in _NAMES if name in header), next((name for name in header if name in text), None))
    numbers = [n for n in header if n not in text and n not in (outcome, family, _SEED, label)]
    chosen, dull = choose(numbers, proxies, baselines, where=str(path))
    others = [name for name in numbers if is_outcome(name) and name not in chosen and proxies is None]
    kind = [CODES] if CODES in numbers else []  # whatever is compared, a score needs it
    items, dropped = _items(path, lines, outcome, family, label, [*dict.fromkeys([*chosen, *dull, *fixed, *kind])])
    notes = [f"{dropped} lines without {outcome} are left out."] if dropped else []
    if others:
        notes.append(f"Outcomes themselves, so no predictors: {', '.join(map(printable, others))}.")
    seconds, flops = _costs(said, "seconds"), _costs(said, "share_of_flops")
    known_predictors = [
        *(
            Predictor(
                name=name,
                direction=ways.get(name, "none"),
                seconds=seconds.get(name),
                share_of_flops=flops.get(name),
            )
            for name in chosen
        ),
        *(Predictor(name=name, direction=ways.get(name, "none"), baseline=True) for name in dull),
    ]
    if with_family_mean(items):
        known_predictors.append(Predictor(name=FAMILY_MEAN, direction=direction, baseline=True))
    return Observations(
        title=path.name,
        outcome=outcome,
        direction=direction,
        items=tuple(items),
        predictors=tuple(known_predictors),
        fixed=tuple(fixed),
        notes=tuple(notes),
        modality=said.get("modality", ""),
    )


def _ways(
    said: Mapping[str, str], header: Sequence[str], *, higher: Sequence[str], lower: Sequence[str]
) -> dict[str, Direction]:
    """Which way is better, by column: as the file says, and over that as the caller does."""
    ways: dict[str, Direction] = {}
    for names, direction in ((_listed(said, "higher"), "higher"), (_listed(said, "lower"), "lower")):
        ways.update({name: direction for name in header if matches(name, names)})  # type: ignore[misc]
    ways.update(dict.fromkeys(higher, "higher"))
    ways.update(dict.fromkeys(lower, "lower"))
    return ways


def _listed(said: Mapping[str, str], name: str) -> list[str]:
    return [word.strip() for word in said.get(name, "").split(",") if word.strip()]


def _costs(said: Mapping[str, str], name: str) -> dict[str, float]:
    pairs = (word.rpartition("=") for word in _listed(said, name))
    return {column.strip(): value for column, _, text in pairs if (value := _number(text)) is not None}


def _preamble(text: str) -> tuple[dict[str, str], str]:
    """What the lines before the header say, by name, and the rest."""
    said: dict[str, str] = {}
    while match := PREAMBLE.match(text):
        said[match[1]], text = match[2].strip(), text[match.end() :]
    return said, text


def _read(path: Path) -> tuple[list[str], list[Mapping[str, str]], dict[str, str]]:
    try:
        if path.stat().st_size > _LARGEST:
            raise UserError(f"{path}: larger than 256 MiB; a calibration's table has one line per tokenizer")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a CSV in UTF-8 (byte {error.start})") from None
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}") from None
    said, text = _preamble(text)
    try:
        rows = [row for row in csv.reader(io.StringIO(text), strict=True) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise UserError(f"{path}: not a CSV: {error}") from None
    if len(rows) < 2:
        raise UserError(f"{path}: expected a header and at least one line")
    header = [name.strip() for name in rows[0]]
    for name in header:
        if header.count(name) > 1:
            raise UserError(f"{path}: two columns are called {printable(name)!r}")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise UserError(f"{path}: line {number} has {len(row)} cells, and the header {len(header)}")
    return header, [dict(zip(header, (cell.strip() for cell in row), strict=True)) for row in rows[1:]], said


def _chosen(
    path: Path, header: Sequence[str], lines: Sequence[Mapping[str, str]], where: Sequence[str]
) -> list[Mapping[str, str]]:
    try:
        return select_lines(header, lines, where)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) < 1e300 else None


def _is_numeric(lines: Sequence[Mapping[str, str]], name: str) -> bool:
    """A column of which every filled cell is a number (NaN and infinity count as not published), and one is."""
    filled = [line[name] for line in lines if line[name]]
    words = {"nan", "inf", "-inf", "+inf", "infinity", "na", "n/a", "-"}
    return any(_number(cell) is not None for cell in filled) and all(
        _number(cell) is not None or cell.lower() in words for cell in filled
    )


def _items(
    path: Path,
    lines: Sequence[Mapping[str, str]],
    outcome: str,
    family: str | None,
    label: str | None,
    names: Sequence[str],
) -> tuple[list[Observation], int]:
    """The observations, and how many lines have no outcome. Lines of one name are one tokenizer's seeds if there is a
    column `seed`. Raises UserError for a name that stands in two lines without one."""
    by_name: dict[str, list[Mapping[str, str]]] = {}
    dropped = 0
    for number, line in enumerate(lines, 2):
        if _number(line[outcome]) is None:
            dropped += 1
            continue
        name = line[label] if label is not None else f"line {number}"
        members = by_name.setdefault(name, [])
        if members:
            here = f"{path}: line {number}: {printable(name)!r}"
            if _SEED not in line:
                raise UserError(f"{here} is there already; several seeds need a column 'seed'")
            if any(line[_SEED] == other[_SEED] for other in members):
                raise UserError(f"{here} has seed {printable(line[_SEED])} already")
            if family is not None and line[family] != members[0][family]:
                raise UserError(f"{here} belongs to two families")
        members.append(line)
    items = []
    for name, members in by_name.items():
        by_seed = {column: tuple(_number(line[column]) for line in members) for column in names}
        values = {}
        for column in names:
            numbers = [value for value in by_seed[column] if value is not None]
            if numbers:
                values[column] = math.fsum(numbers) / len(numbers)
        results = tuple(value for line in members if (value := _number(line[outcome])) is not None)
        group = members[0][family] if family is not None else name
        items.append(Observation(name=name, family=group, outcome=results, values=values, by_seed=by_seed))
    return items, dropped
