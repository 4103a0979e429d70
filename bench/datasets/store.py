"""Writing a data set into the cache: samples in one flat file, labels and the rows of each split beside it. No torch.

An entry holds `samples.bin` (`[N, C, *shape]` uint8 or int16), `labels.npy` (int64 `[N]`, if there are labels),
`train.npy` and `val.npy` (int64 rows of `samples.bin`) and `meta.json`, which has the others' digests and its own.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np

from ...results.errors import UserError
from .cache import PendingEntry
from .config import FILES, DataConfig, stored_shape
from .entry import index_bytes
from .file_source import FileSource
from .file_table import RankedFiles
from .files import passed_over
from .source import Item, Progress, Skip, SourceReader

_T = TypeVar("_T")


@dataclass(frozen=True)
class _StoredItem:
    split: str | None
    start: int
    stop: int


def build(draft: PendingEntry, config: DataConfig, reading: SourceReader, progress: Progress) -> None:
    """Reads `reading` into `draft`, item by item in bounded memory.

    Raises UserError when no item is usable or when there is nothing left for one of the splits.
    """
    shape, dtype = stored_shape(config), np.dtype(np.int16 if config.modality.is_audio else np.uint8)
    sample_bytes = math.prod(shape) * dtype.itemsize
    if reading.samples is not None:
        draft.grow(reading.samples * sample_bytes)
        draft.shrink(reading.samples * sample_bytes)
    elif config.kind in FILES:
        # A file gives a sample or more, unless it can't be used: said now and not after hours of decoding.
        least = reading.total if config.samples is None else min(reading.total, config.samples)
        draft.expect(least * sample_bytes)
    stored: list[_StoredItem] = []
    labels: list[np.ndarray] = []
    skipped = list(reading.skipped)
    marked: dict[str, list[str]] = {}
    file = draft.create("samples.bin")
    quota = _Quota(config, reading)
    end = 0
    with closing(_closable(reading.items)) as items:
        for done, item in enumerate(items):
            progress(done, reading.total, "decoding")
            quota.rank = done
            try:
                count = _append(file, draft, item, shape, dtype, quota.room(item))
            except Skip as reason:
                file.seek(end * sample_bytes)
                file.truncate()
                skipped.append((item.name, str(reason)))
                continue
            stored.append(_StoredItem(quota.take(item, count), end, end + count))
            labels.append(_labels(item, count))
            for mark in item.marks():
                marked.setdefault(mark, []).append(item.name)
            end += count
            if quota.full:
                break
    progress(reading.total, reading.total, "decoding")
    if not end:
        raise _nothing(config, skipped)
    train, val, notes = _split(config, stored, quota)
    for name, rows in (("train", train), ("val", val)):
        np.save(draft.create(f"{name}.npy"), rows)
    label = np.concatenate(labels)
    if (label >= 0).all():
        np.save(draft.create("labels.npy"), label)
    files = {
        "files": reading.total + len(reading.skipped) + reading.duplicates,
        "used": len(stored),
        "skipped": len(skipped),
        "duplicates": reading.duplicates,
    }
    meta = {
        "shape": list(shape),
        "dtype": dtype.name,
        "samples": end,
        "classes": list(reading.classes) if (label >= 0).all() else [],
        "skipped": [{"file": name, "reason": reason} for name, reason in skipped],
        "counts": {**(files if reading.files else {}), "train": len(train), "val": len(val)},
        "notes": [*reading.notes, *notes, *(_marked(*each) for each in marked.items())],
    }
    index = index_bytes(meta | {"sha256": draft.digests()})
    draft.create("meta.json").write(index)


def build_index(draft: PendingEntry, config: DataConfig, source: FileSource, cache: Path, progress: Progress) -> None:
    """Writes the files of a set that is decoded while it is used into `draft`, by rank, in memory that does not grow.

    Raises UserError when there are too few for two splits.
    """
    with source.opened(config, cache, progress) as (table, problems, classes):
        path = draft.create("files.sqlite")
        count = table.write_ranked(Path(path.name), classes)
        duplicates, skipped = table.duplicates, [*problems, *table.problems()]
        others = passed_over(table.passed_over)
    if count < 2:
        raise UserError(f"data: {config.label} has {count} usable file and needs two to be split, or stream = false")
    draft.grow((draft.folder / "files.sqlite").stat().st_size)
    val = config.val if isinstance(config.val, int) else max(1, round(config.val * count))
    val = min(val, count - 1)
    train = min(config.samples or count, count - val)
    if classes:
        with closing(RankedFiles(draft.folder / "files.sqlite")) as files:
            np.save(draft.create("labels.npy"), files.labels(count))
    files_of = {
        "files": count + len(skipped) + duplicates, "used": val + train, "skipped": len(skipped),
        "duplicates": duplicates,
    }  # fmt: skip
    meta = {
        "root": str(table.root.absolute()),
        "classes": list(classes),
        "skipped": [{"file": name, "reason": reason} for name, reason in skipped],
        "counts": {**files_of, "train": train, "val": val},
        "notes": [
            *filter(None, [others]),
            "files are decoded while they are used; what can't be is found out then, and named in a job's log",
        ],
    }
    index = index_bytes(meta | {"sha256": draft.digests()})
    draft.create("meta.json").write(index)


class _Quota:
    """Which split the next item goes to, and how many of its samples are still wanted."""

    def __init__(self, config: DataConfig, reading: SourceReader) -> None:
        self._cap = config.samples
        self._whole = reading.total == 1
        self._val_samples = config.val if isinstance(config.val, int) else None
        most = reading.total if config.all_validation else reading.total - 1
        self._val_items = max(1, min(round(config.val * reading.total), most))
        self.val = self.train = 0
        self.rank = 0  # of the item at hand, among all: skipped files use up their place in their split

    @property
    def _val_done(self) -> bool:
        if self._val_samples is not None:
            return self.val >= self._val_samples
        return self.rank >= self._val_items and self.val > 0

    def room(self, item: Item) -> int | None:
        """The most samples wanted of the item; None when all are. An item for validation is always read whole: it
        may have to be divided or to go to training, which is known at the end alone."""
        if item.split is not None or self._cap is None or not self._val_done:
            return None
        return self._cap - self.train

    def take(self, item: Item, count: int) -> str | None:
        """Counts the item in; returns the split it belongs to, as far as is known now."""
        if item.split is not None:
            return item.split
        if not self._val_done:
            self.val += count
            return "val"
        self.train += count
        return "train"

    @property
    def full(self) -> bool:
        """Whether all wanted training samples are there."""
        return self._cap is not None and self.train >= self._cap


def _append(
    file: BinaryIO, draft: PendingEntry, item: Item, shape: tuple[int, ...], dtype: np.dtype, room: int | None
) -> int:
    count = written = 0
    blocks = _closable(iter(item.blocks))
    try:
        for block in blocks:
            if room is not None:
                block = block[: room - count]
            if block.dtype != dtype or block.shape[1:] != shape:
                raise TypeError(f"{item.name}: source gave {block.dtype} {block.shape[1:]}, needs {dtype} {shape}")
            draft.grow(block.nbytes)
            written += block.nbytes
            file.write(np.ascontiguousarray(block).data)
            count += len(block)
            if room is not None and count >= room:
                break
        if not count:
            raise Skip("no sample in it")
    except Skip:
        draft.shrink(written)
        raise
    finally:
        blocks.close()
    return count


def _labels(item: Item, count: int) -> np.ndarray:
    if item.label is None:
        return np.full(count, -1, np.int64)
    if isinstance(item.label, int):
        return np.full(count, item.label, np.int64)
    return np.asarray(item.label, np.int64)[:count]


def _split(config: DataConfig, stored: list[_StoredItem], quota: _Quota) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Rows of the training and of the validation split, and notes on anything unusual."""
    sides = {"train": [k for k in stored if k.split == "train"], "val": [k for k in stored if k.split == "val"]}
    source_has_splits = quota.val == 0
    if source_has_splits and not (sides["train"] and sides["val"]):
        missing = "validation" if sides["train"] else "training"
        raise UserError(f"data: source {config.source!r} gave no {missing} samples")
    if config.all_validation and not source_has_splits:
        rows = np.concatenate([np.arange(k.start, k.stop) for k in stored]).astype(np.int64)
        return (
            rows[: config.samples],
            rows,
            ["all files are for validation, and the training split is made of the same"],
        )
    if len(stored) == 1 and not source_has_splits:
        return _divide(config, stored[0])
    if not sides["train"]:
        sides["train"].append(sides["val"].pop())
    train, val = (
        np.concatenate([np.arange(k.start, k.stop) for k in sides[name]]).astype(np.int64) for name in ("train", "val")
    )
    if not source_has_splits:
        train = train[: config.samples]
        val = val[: config.val] if isinstance(config.val, int) else val
    return train, val, []


def _divide(config: DataConfig, only: _StoredItem) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The split inside the only usable file: its end, in time or in the order of its tiles, is for validation."""
    count = only.stop - only.start
    if count < 2:
        cure = "crop 'tiles' with a larger per_file" if config.modality.value == "image" else "a larger per_file"
        raise UserError(
            f"data: one usable file with one sample can't be split into training and validation; "
            f"add files, or use {cure} or shorter samples"
        )
    val = config.val if isinstance(config.val, int) else math.ceil(config.val * count)
    cut = count - min(max(val, 1), count - 1)
    rows = np.arange(only.start, only.stop, dtype=np.int64)
    note = "one usable file: its end is the validation split, so the two splits are not independent"
    return rows[:cut][: config.samples], rows[cut:], [note]


def _marked(mark: str, names: list[str]) -> str:
    """Which files have the mark: "2 files are interlaced: a.mpg, b.mpg"."""
    files = "1 file is" if len(names) == 1 else f"{len(names)} files are"
    return f"{files} {mark}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"


def _nothing(config: DataConfig, skipped: list[tuple[str, str]]) -> UserError:
    from .complaints import by_reason

    counts = ", ".join(f"{count} {reason}" for reason, count in by_reason(reason for _, reason in skipped).items())
    name, reason = skipped[0]
    return UserError(
        f"data.path: none of the {len(skipped)} {config.modality.value} files in {config.path or config.source} can be "
        f"used: {counts} (the first: {name}: {reason})"
    )


def _closable(items: Iterator[_T]) -> Generator[_T, None, None]:
    """`items` as a generator, which can be closed."""
    yield from items
