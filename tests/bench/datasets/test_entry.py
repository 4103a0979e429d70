"""Digests of an entry of the cache: what is noticed, and what isn't read again."""

import json
import os
from hashlib import sha256
from pathlib import Path

import pytest

from latentbench.bench.datasets.entry import INDEX, DamagedEntryError, forget, index_bytes, read_index

BULK = b"\x00\x01\x02\x03" * 64


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    folder = tmp_path / "entry"
    folder.mkdir()
    (folder / "samples.bin").write_bytes(BULK)
    (folder / INDEX).write_bytes(index_bytes({"count": 4, "sha256": {"samples.bin": sha256(BULK).hexdigest()}}))
    return folder


def test_an_entry_as_it_was_written(entry: Path) -> None:
    assert read_index(entry)["count"] == 4
    assert read_index(entry, whole=True)["count"] == 4


@pytest.mark.parametrize("position", [1, 10, -2])
def test_a_changed_byte_of_the_index(entry: Path, position: int) -> None:
    content = bytearray((entry / INDEX).read_bytes())
    content[position] ^= 1
    (entry / INDEX).write_bytes(content)
    with pytest.raises(DamagedEntryError):
        read_index(entry)


def test_an_index_that_is_written_anew_by_hand(entry: Path) -> None:
    meta = json.loads((entry / INDEX).read_text())
    (entry / INDEX).write_text(json.dumps(meta | {"count": 5}, indent=1))
    with pytest.raises(DamagedEntryError, match="another digest"):
        read_index(entry)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"[" * 100_000, b'{"digest": 1, "sha256": 2}'])
def test_an_index_that_is_none(entry: Path, content: bytes) -> None:
    (entry / INDEX).write_bytes(content)
    with pytest.raises(DamagedEntryError):
        read_index(entry)


def test_samples_are_compared_again_once_their_times_change(entry: Path) -> None:
    read_index(entry)
    (entry / "samples.bin").write_bytes(b"\x01" + BULK[1:])
    with pytest.raises(DamagedEntryError, match=r"samples\.bin has another digest"):
        read_index(entry)


def test_damage_without_a_trace_is_noticed_when_all_is_read(entry: Path) -> None:
    """As a disk does it: the content changes, its size and times do not."""
    read_index(entry)
    memory = entry.with_name("entry.verified")
    (entry / "samples.bin").write_bytes(b"\x01" + BULK[1:])
    status = os.stat(entry / "samples.bin")
    times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
    memory.write_text(f"{status.st_dev} {status.st_ino} {status.st_size} {times}")
    assert read_index(entry)["count"] == 4
    with pytest.raises(DamagedEntryError):
        read_index(entry, whole=True)
    forget(entry)
    with pytest.raises(DamagedEntryError):
        read_index(entry)


def test_samples_that_are_gone(entry: Path) -> None:
    (entry / "samples.bin").unlink()
    with pytest.raises(DamagedEntryError, match="can't be read"):
        read_index(entry)
