"""Samples of a split that is decoded while it is used, as far as somebody has decoded them: every job reads the same
validation samples, and each is decoded once.

Two files in the set's entry of the cache, made sparse: a slot per sample, and a number per slot that is its CRC-32
once it is written. So whoever writes at the same time writes the same, a slot half written counts as none, and
nothing is waited for. No torch.
"""

from __future__ import annotations

import math
import os
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np

from ...results.errors import UserError
from .cache import Cache

_WRITTEN = 1 << 32  # beside the 32 bits of the sum, which may be zero


class SharedSamples:
    """`count` samples `shape` of `dtype` in `folder`. What can't be written is not kept."""

    def __init__(self, folder: Path, *, count: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.folder, self.count, self.shape, self.dtype = folder, count, shape, dtype
        self._slot = math.prod(shape) * dtype.itemsize
        self._files: tuple[int, int] | None = None
        self._writes = True

    def make(self, cache: Cache) -> bool:
        """Have the files, with room for all samples in the cache; False where that is not to be had, or not for less
        than half of it."""
        size = self.count * (self._slot + 8)
        if all(path.exists() for path in self._paths()):
            return True
        if size > cache.bound // 2:
            return False
        try:
            cache.make_room(size)
            for path, bytes_each in zip(self._paths(), (self._slot, 8), strict=True):
                with path.open("ab") as file:
                    file.truncate(self.count * bytes_each)
        except (OSError, UserError):
            return False
        return True

    def present(self, indices: np.ndarray) -> np.ndarray:
        """Which of the samples somebody has written (bool `[B]`)."""
        return self._sums(indices) >= _WRITTEN

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The samples `[B, *shape]` and which of them are there, whole (bool `[B]`); the others are zero."""
        samples = np.zeros((len(indices), *self.shape), self.dtype)
        present = np.zeros(len(indices), bool)
        sums = self._sums(indices)
        for row, index in enumerate(indices.tolist()):
            if sums[row] >= _WRITTEN and self._files is not None:
                content = os.pread(self._files[0], self._slot, index * self._slot)
                if len(content) == self._slot and _WRITTEN | zlib.crc32(content) == sums[row]:
                    samples[row] = np.frombuffer(content, self.dtype).reshape(self.shape)
                    present[row] = True
        return samples, present

    def write(self, indices: np.ndarray, samples: np.ndarray) -> None:
        """Keep the samples `[B, *shape]`. A full disk, or a folder that can't be written to, ends the keeping."""
        if not self._writes:
            return
        try:
            values, sums = (os.open(path, os.O_WRONLY) for path in self._paths())
        except OSError:
            self._writes = False
            return
        try:
            for index, sample in zip(indices.tolist(), np.ascontiguousarray(samples), strict=True):
                content = sample.tobytes()
                if os.pwrite(values, content, index * self._slot) == self._slot:
                    os.pwrite(sums, (_WRITTEN | zlib.crc32(content)).to_bytes(8, "little"), 8 * index)
        except OSError:
            self._writes = False
        finally:
            os.close(values)
            os.close(sums)

    def _paths(self) -> tuple[Path, Path]:
        return self.folder / "val.bin", self.folder / "val.sums"

    def _sums(self, indices: np.ndarray) -> np.ndarray:
        if self._files is None:
            with suppress(OSError):
                values, sums = (os.open(path, os.O_RDONLY) for path in self._paths())
                self._files = (values, sums)
        if self._files is None:
            return np.zeros(len(indices), np.uint64)
        contents = (os.pread(self._files[1], 8, 8 * index).ljust(8, b"\0") for index in indices.tolist())
        return np.array([int.from_bytes(content, "little") for content in contents], np.uint64)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_files": None}

    def __del__(self) -> None:
        for file in self._files or ():
            with suppress(OSError):
                os.close(file)
