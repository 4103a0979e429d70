"""Rows of an array on disk."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from latentbench.tasks import memory_mapped
from latentbench.tasks.memory_mapped import MemoryMapped

CPU = torch.device("cpu")


def stored(folder: Path, dtype: str) -> np.ndarray:
    np.save(folder / "a.npy", np.arange(60).reshape(10, 2, 3).astype(dtype))
    array: np.ndarray = np.load(folder / "a.npy", mmap_mode="r")
    return array


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("uint8", torch.uint8), ("int16", torch.int16), ("uint16", torch.int32), ("float32", torch.float32)],
)
def test_batches_are_the_rows_as_they_are_stored(tmp_path: Path, dtype: str, expected: torch.dtype) -> None:
    array = stored(tmp_path, dtype)
    batch = MemoryMapped(array).batch(np.array([7, 0, 7]), CPU)
    assert batch.dtype == expected
    assert batch.tolist() == array[[7, 0, 7]].tolist()
    some = MemoryMapped(array, np.array([9, 4, 2]))
    assert len(some) == 3
    assert some.batch(np.array([2, 0]), CPU).tolist() == array[[2, 9]].tolist()
    assert pickle.loads(pickle.dumps(some)).batch(np.array([1]), CPU).tolist() == array[[4]].tolist()
    assert some.batch(np.empty(0, np.int64), CPU).shape == (0, 2, 3)


@pytest.mark.parametrize("indices", [[-1], [0, 3]])
def test_what_lies_outside_is_refused(tmp_path: Path, indices: list[int]) -> None:
    with pytest.raises(IndexError, match=r"indices must lie in \[0, 3\)"):
        MemoryMapped(stored(tmp_path, "uint8"), np.array([9, 4, 2])).batch(np.array(indices), CPU)


@pytest.mark.parametrize(("total", "free", "fits"), [(1200, 240, True), (1199, 240, False), (1200, 239, False)])
def test_what_fits_stays_on_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, total: int, free: int, fits: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, total))
    monkeypatch.setattr(memory_mapped, "_UPLOAD_BYTES", 13)
    array = stored(tmp_path, "uint8")  # 60 bytes: 5 % of 1200, 25 % of 240
    mapped = MemoryMapped(array)
    read = mapped._read
    monkeypatch.setattr(mapped, "_read", lambda indices, pinned: read(indices))
    resident = mapped._on_device(CPU)
    assert (resident is not None) == fits
    if resident is not None:
        assert resident.tolist() == array.tolist()
        assert mapped._on_device(CPU) is resident


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("share", [0.0, 0.05])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_gpu_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, dtype: str) -> None:
    monkeypatch.setattr(memory_mapped, "RESIDENT_SHARE", share)
    mapped = MemoryMapped(stored(tmp_path, dtype), np.arange(9, -1, -1))
    indices = np.array([3, 0, 9])
    assert torch.equal(mapped.batch(indices, torch.device("cuda")).cpu(), mapped.batch(indices, CPU))
