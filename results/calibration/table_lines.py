"""A file of figures as text: its header, its lines with their numbers, and what the lines before the header say."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..display import printable
from ..errors import UserError, nearest

PREAMBLE = re.compile(r"#[^\n]*(?:\n|$)")  # a line before the header
SUFFIXES = (".csv", ".tsv", ".txt")
_SAYING = re.compile(r"#[ \t]*([A-Za-z_]+)[ \t]*:(.*)")
_ONE = ("modality", "outcome", "better", "family")
_SEVERAL = ("given", "higher", "lower", "baselines", "seconds", "share_of_flops")
_EQUALITIES = ("protocol", "domain")
_KEYS = (*_ONE, *_SEVERAL, *_EQUALITIES)
_DELIMITERS = (",", ";", "\t")
_LARGEST = 256 * 2**20  # bytes; a table of tokenizers has a few thousand lines


class Line(dict[str, str]):
    """A line's cells by column, and its number in the file."""

    number: int

    def __init__(self, number: int, cells: Sequence[tuple[str, str]]) -> None:
        super().__init__(cells)
        self.number = number


@dataclass(frozen=True)
class Said:
    """What the lines before the header say: by key the texts, each with the number of its line."""

    path: Path
    texts: dict[str, list[tuple[int, str]]] = field(default_factory=dict)

    def one(self, key: str) -> str | None:
        """A text that is said once. Raises UserError where there are two."""
        texts = self.texts.get(key, [])
        if len(texts) > 1:
            raise UserError(f"{self.path}: line {texts[1][0]}: {key} is given twice")
        return texts[0][1] if texts and texts[0][1] else None

    def place(self, key: str) -> str:
        """Where it is said, for messages."""
        return f"line {self.texts[key][0][0]}: {key}"

    def listed(self, key: str) -> list[str]:
        """The names of a list with commas."""
        return [name.strip() for _, text in self.texts.get(key, []) for name in text.split(",") if name.strip()]

    def numbers(self, key: str) -> dict[str, float]:
        """Numbers by column, as in `viv=0.2, psnr=3`. Raises UserError for what is none."""
        result = {}
        for number, text in self.texts.get(key, []):
            for word in filter(None, (word.strip() for word in text.split(","))):
                name, _, value = word.rpartition("=")
                try:
                    result[name.strip()] = float(value)
                except ValueError:
                    raise UserError(
                        f"{self.path}: line {number}: {key}: expected <column>=<number>, got {printable(word)!r}"
                    ) from None
        return result

    def equalities(self, key: str) -> dict[str, list[str]]:
        """Texts by name, as in `viv = of all latents`, a line each. Raises UserError for what is none."""
        result: dict[str, list[str]] = {}
        for number, text in self.texts.get(key, []):
            name, sign, value = (part.strip() for part in text.partition("="))
            if not (name and sign and value):
                raise UserError(
                    f"{self.path}: line {number}: {key}: expected <name> = <text>, got {printable(text.strip())!r}"
                )
            result.setdefault(name, []).append(value)
        return result


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A file: its columns, its lines that hold something, what stands before the header, and notes on what was passed
    over."""

    path: Path
    delimiter: str
    header: list[str]
    lines: list[Line]
    said: Said
    notes: list[str]


def read_sheet(path: Path) -> Sheet:
    """The file's text, in columns divided by commas, semicolons or tabs, whichever its header has most of.

    Lines before the header that begin with `#` are comments; of those such as `# lower: viv`, with one of a few keys,
    is heeded what they say. Raises UserError for a file that is no such table.
    """
    text = _text(path).split("\n")
    start = next((i for i, line in enumerate(text) if line.strip() and not line.startswith("#")), len(text))
    said, notes = _said(path, text[:start])
    delimiter = _delimiter(text[start]) if start < len(text) else ","
    rows = _rows(path, "\n".join(text[start:]), delimiter, start)
    if len(rows) < 2:
        raise UserError(f"{path}: expected a header and at least one line of figures")
    (first, header), *rest = rows
    if len(header) == 1:
        raise UserError(f"{path}: line {first}: one column; expected commas, semicolons or tabs between columns")
    for name in header:
        if name and header.count(name) > 1:
            raise UserError(f"{path}: line {first}: two columns are called {printable(name)!r}")
    for number, row in rest:
        if len(row) != len(header):
            raise UserError(f"{path}: line {number} has {len(row)} cells, and the header {len(header)} (line {first})")
    notes += [
        f"Column {place} has no name, and is left out."
        for place, name in enumerate(header, 1)
        if not name and any(row[place - 1] for _, row in rest)
    ]
    lines = [Line(number, [pair for pair in zip(header, row, strict=True) if pair[0]]) for number, row in rest]
    return Sheet(path=path, delimiter=delimiter, header=[*filter(None, header)], lines=lines, said=said, notes=notes)


def wrong(path: Path, line: int, column: str, what: str) -> UserError:
    """The error for a cell."""
    return UserError(f"{path}: line {line}, column {printable(column)}: {what}")


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST:
            raise UserError(f"{path}: larger than 256 MiB; a calibration's table has one line per tokenizer")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a CSV in UTF-8 (byte {error.start})") from None
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}") from None


def _said(path: Path, lines: Sequence[str]) -> tuple[Said, list[str]]:
    said, notes = Said(path), []
    for number, line in enumerate(lines, 1):
        match = _SAYING.fullmatch(line)
        if match is None:
            continue
        key, text = match[1], match[2].strip()
        if key in _KEYS:
            said.texts.setdefault(key, []).append((number, text))
        elif match[2][:1] in ("", " ", "\t"):  # not an address, as http://
            near = nearest(key, _KEYS)
            hint = f"did you mean {near!r}?" if near else f"heeded are {', '.join(_KEYS)}"
            notes.append(f"Line {number} says {printable(key)!r}, which is not heeded; {hint}")
    return said, notes


def _delimiter(header: str) -> str:
    bare = re.sub(r'"[^"]*"', "", header)
    return max(_DELIMITERS, key=bare.count)  # of equal ones the first


def _rows(path: Path, text: str, delimiter: str, before: int) -> list[tuple[int, list[str]]]:
    """The rows that hold something, with their line numbers, `before` lines standing above them."""
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    rows: list[tuple[int, list[str]]] = []
    while True:
        number = before + reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise UserError(f"{path}: line {number}: not a CSV: {error}") from None
        if row is None:
            return rows
        cells = [cell.strip() for cell in row]
        if any(cells):
            rows.append((number, cells))
