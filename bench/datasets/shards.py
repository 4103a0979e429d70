"""Archives of a data set on this machine: named by a file, a folder or a pattern. No torch."""

from __future__ import annotations

import glob
import re
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from ...results.errors import UserError, nearest
from .config import DataConfig, require_path
from .file_source import FileSource
from .file_table import FileTable, Member
from .media import KIND
from .source import Progress

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_SHARDS = 1_000_000


class Shards(FileSource):
    """A source whose files lie in archives ("shards") whose names end in `ending`."""

    version: ClassVar[int] = 2  # that of "folder": the same files give the same samples
    ending: ClassVar[str]
    reader: ClassVar[str]  # names what `members` gives; another one has archives read anew

    @abstractmethod
    def members(self, path: Path, name: str, config: DataConfig) -> Iterator[Member]:
        """The files in one archive. Raises UserError for one that can't be read at all."""

    def root(self, config: DataConfig) -> Path:
        return _shards(require_path(config), self.ending)[0]

    def fill(self, table: FileTable, config: DataConfig, progress: Progress) -> list[tuple[str, str]]:
        root, names = _shards(require_path(config), self.ending)
        reader = f"{self.reader} {KIND[config.modality]}"
        try:
            table.add_archives(names, reader, lambda path, name: self.members(path, name, config), progress)
        except OSError as error:
            raise UserError(f"data.path: {error.filename or root} can't be read: {error.strerror}") from None
        if not table.listed:
            raise UserError(
                f"data.path: no {KIND[config.modality]} files in the {len(names)} {self.ending} files of {config.path}"
            )
        return []


def _shards(path: str, ending: str) -> tuple[Path, list[str]]:
    """The folder that holds the archives, and their names in it, sorted. Raises UserError when there are none."""
    pattern = Path(path).expanduser()
    if pattern.is_dir():
        pattern = pattern / f"*{ending}"
    plain = [part for part in pattern.parts[:-1] if not re.search(r"[*?\[{]", part)]
    depth = next((i for i, part in enumerate(pattern.parts) if re.search(r"[*?\[{]", part)), len(pattern.parts) - 1)
    root = Path(*pattern.parts[:depth]) if depth else Path()
    names: set[str] = set()
    for text in _expanded(str(pattern)):
        fitting = [text] if Path(text).is_file() else glob.glob(text, recursive=True)
        if not fitting and text != str(pattern) and not re.search(r"[*?\[]", text):
            raise UserError(f"data.path: {path} names {text}, which is not there")
        names |= {str(Path(name).relative_to(root)) for name in fitting if Path(name).is_file()}
    if names:
        return root, sorted(names)
    if not root.is_dir():
        raise UserError(f"data.path: no such folder: {root}")
    there = sorted(entry.name for entry in root.iterdir() if entry.name.endswith(ending))
    near = nearest(pattern.name, there) if len(plain) == len(pattern.parts) - 1 else None
    hint = f"; did you mean {str(root / near)!r}?" if near else ""
    raise UserError(f"data.path: no file fits {path}{hint}")


def _expanded(pattern: str) -> list[str]:
    """A pattern with the ranges in it written out: "a-{000..002}.tar" stands for three names."""
    match = _RANGE.search(pattern)
    if match is None:
        return [pattern]
    first, last = match[1], match[2]
    if int(last) - int(first) > _MOST_SHARDS:
        raise UserError(f"data.path: {match[0]} are more than {_MOST_SHARDS} archives")
    numbers = (str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))
    return [
        name for number in numbers for name in _expanded(pattern[: match.start()] + number + pattern[match.end() :])
    ]
