"""What a data source is: where a data set's files or samples come from. Adding one is one class in one file.

A source says what its content is (`content`, without torch, so that a plan can name it) and reads it (`read`), item by
item. Storing, splitting, caching and batching are the same for all sources and live elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol

import numpy as np

from .config import DataConfig

Progress = Callable[[int, int, str], None]


def silent(done: int, total: int, message: str) -> None:
    """The progress that shows nothing."""


class Skip(Exception):
    """Raised while an item is read: it can't be used, and why. It is counted and named, and reading goes on."""


class Changed(Exception):
    """Raised while an item is read: its file is no longer what it was when its content was hashed, or can't be read at
    the moment. Nothing of the data set is stored."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One file (or block of made samples) and what is cut from it.

    `blocks` yields integer arrays `[n, C, *shape]`: uint8 for images and videos (0..255 for -1..1), int16 for sounds;
    it may raise `Skip` at any point, which takes back what the item gave before. `label` is one class for the item or
    an int64 array with one per sample. `split` None leaves the split to the data set: an item falls on one side
    entirely, and the first ones read are for validation, so a source yields its items in an order without meaning.
    `marks` are words for what is unusual about an item that is used, asked for once it is.
    """

    name: str
    blocks: Iterable[np.ndarray]
    label: int | np.ndarray | None = None
    split: Literal["train", "val"] | None = None
    marks: Callable[[], tuple[str, ...]] = tuple


@dataclass(frozen=True, kw_only=True)
class SourceReader:
    """A source opened for reading: `items` in their order, how many there are, the classes' names, and the files that
    were passed over already, as (file, reason).

    `samples` is the exact number of samples where it is known, `notes` what is unusual (a line each); `files` is
    False when items are not files and not worth counting.
    """

    items: Iterator[Item]
    total: int
    classes: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    duplicates: int = 0
    samples: int | None = None
    notes: tuple[str, ...] = ()
    files: bool = True


class Source(Protocol):
    """Where samples come from. `version` rises when the same configuration and content give other samples."""

    version: ClassVar[int]

    def content(self, config: DataConfig, *, cache: Path, progress: Progress = silent) -> str:
        """A digest of what is read ("" when the configuration says it all). No torch. Raises UserError."""

    def read(self, config: DataConfig, *, cache: Path, progress: Progress = silent) -> SourceReader:
        """Opens the source. Raises UserError when there is nothing to read."""
