from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from latentbench.bench.datasets import DataConfig, Item, Skip, SourceReader, open_dataset, sources
from latentbench.results.errors import UserError

CPU = torch.device("cpu")


def blocks(*levels: int, fail: str | None = None) -> Iterator[np.ndarray]:
    for level in levels:
        yield np.full((1, 3, 8, 8), level, np.uint8)
    if fail:
        raise Skip(fail)


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> type:
    class Given:
        version: ClassVar[int] = 1
        reading: ClassVar[SourceReader]

        def content(self, config: DataConfig, **_: object) -> str:
            return ""

        def read(self, config: DataConfig, **_: object) -> SourceReader:
            return self.reading

    sources.add("given", Given)
    return Given


def levels(split: object) -> list[int]:
    batch = split.batch(np.arange(len(split)), CPU)  # type: ignore[attr-defined, arg-type]
    return ((batch[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


def test_a_skipped_item_takes_its_samples_back(source: type, cache: Path) -> None:
    items = [
        Item(name="a", blocks=blocks(1, 2), label=0),
        Item(name="b", blocks=blocks(3, 4, 5, fail="damaged in the middle"), label=1),
        Item(name="c", blocks=blocks(6), label=1),
        Item(name="d", blocks=blocks(), label=1),
        Item(name="e", blocks=blocks(7, 8), label=0),
    ]
    source.reading = SourceReader(items=iter(items), total=5, classes=("x", "y"), skipped=(("f", "unreadable"),))
    data = open_dataset(DataConfig(source="given", size=8, val=0.2), cache=cache)
    assert levels(data.val) == [1, 2]
    assert levels(data.train) == [6, 7, 8]
    assert data.train.labels is not None
    assert data.train.labels.tolist() == [1, 0, 0]
    assert [entry["file"] for entry in data.skipped] == ["f", "b", "d"]
    assert data.counts == {"files": 6, "used": 3, "skipped": 3, "duplicates": 0, "train": 3, "val": 2}


def test_the_last_item_is_for_training_when_nothing_else_is(source: type, cache: Path) -> None:
    items = [Item(name=c, blocks=blocks(i, fail="no" if c in "bd" else None)) for i, c in enumerate("abcd")]
    source.reading = SourceReader(items=iter(items), total=4)
    data = open_dataset(DataConfig(source="given", size=8, val=0.75), cache=cache)
    assert (levels(data.val), levels(data.train)) == ([0], [2])


def test_all_files_for_validation(source: type, cache: Path) -> None:
    """The share 1.0 takes all files, for training too; the number 1 takes one sample."""

    def items() -> Iterator[Item]:
        return iter(Item(name=str(i), blocks=blocks(i)) for i in range(1, 5))

    source.reading = SourceReader(items=items(), total=4)
    everything = open_dataset(DataConfig(source="given", size=8, val=1.0), cache=cache)
    assert levels(everything.val) == levels(everything.train) == [1, 2, 3, 4]
    assert "all files are for validation" in everything.notes[0]
    source.reading = SourceReader(items=items(), total=4)
    one = open_dataset(DataConfig(source="given", size=8, val=1), cache=cache)
    assert levels(one.val) == [1]
    assert levels(one.train) == [2, 3, 4]
    assert not one.notes


def test_reading_stops_when_there_is_enough(source: type, cache: Path) -> None:
    def items() -> Iterator[Item]:
        for i in range(10):
            assert i < 4, "read on"
            yield Item(name=str(i), blocks=blocks(i, i))

    source.reading = SourceReader(items=items(), total=10)
    data = open_dataset(DataConfig(source="given", size=8, val=2, samples=5), cache=cache)
    assert levels(data.train) == [1, 1, 2, 2, 3]


def test_one_side_missing(source: type, cache: Path) -> None:
    source.reading = SourceReader(items=iter([Item(name="a", blocks=blocks(1), split="train")]), total=1)
    with pytest.raises(UserError, match="gave no validation samples"):
        open_dataset(DataConfig(source="given", size=8), cache=cache)


def test_wrong_shape_is_the_sources_fault(source: type, cache: Path) -> None:
    source.reading = SourceReader(items=iter([Item(name="a", blocks=blocks(1))]), total=1)
    with pytest.raises(TypeError, match=r"a: source gave uint8 \(3, 8, 8\), needs uint8 \(3, 9, 9\)"):
        open_dataset(DataConfig(source="given", size=9), cache=cache)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_data_set(cache: Path) -> None:
    open_dataset(DataConfig(samples=10, val=10, size=64), cache=cache)
    tracemalloc.start()
    try:
        data = open_dataset(DataConfig(samples=3000, val=10, size=64), cache=cache)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    stored = 3010 * 3 * 64 * 64
    # The buffer is one block of 21 images (a dozen float32 copies), whatever the number of blocks.
    assert peak < stored / 2
    assert len(data.train) == 3000


def test_skipped_files_use_up_their_place_so_that_the_share_holds(source: type, cache: Path) -> None:
    items = [Item(name=f"{i:02}", blocks=blocks(i, fail="no" if i % 2 else None)) for i in range(20)]
    source.reading = SourceReader(items=iter(items), total=20)
    data = open_dataset(DataConfig(source="given", size=8, val=0.2), cache=cache)
    assert (levels(data.val), levels(data.train)) == ([0, 2], list(range(4, 20, 2)))


def test_validation_is_never_empty_because_its_files_were_skipped(source: type, cache: Path) -> None:
    items = [Item(name=f"{i}", blocks=blocks(i, fail="no" if i < 4 else None)) for i in range(10)]
    source.reading = SourceReader(items=iter(items), total=10)
    data = open_dataset(DataConfig(source="given", size=8, val=0.2), cache=cache)
    assert (levels(data.val), levels(data.train)) == ([4], [5, 6, 7, 8, 9])
