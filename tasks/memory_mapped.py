"""An array on disk whose rows are copied to a device; a GPU keeps the whole array where it fits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

# An array is kept on the GPU when it takes at most this share of the GPU's memory and of what is free of it: several
# jobs may share the device, each with its own copy.
RESIDENT_SHARE = 0.05
RESIDENT_SHARE_OF_FREE = 0.25
_UPLOAD_BYTES = 64 << 20  # copied to the GPU at a time


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """A small array of the host's on `device`; a GPU gets it while the host goes on."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class MemoryMapped:
    """The rows `rows` (all when None) of a memory-mapped `array` `[N, ...]`.

    `batch` gives them as they are stored, but uint16 as int32 (torch has few kernels for uint16).
    """

    def __init__(self, array: np.ndarray, rows: np.ndarray | None = None) -> None:
        self.array, self.rows = array, rows
        self._resident: dict[torch.device, Tensor | None] = {}

    def __len__(self) -> int:
        return len(self.array if self.rows is None else self.rows)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_resident": {}}

    def batch(self, indices: np.ndarray, device: torch.device) -> Tensor:
        """The rows at `indices` (int64 `[B]`) on `device`. Raises IndexError outside [0, N)."""
        if len(indices) and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"indices must lie in [0, {len(self)})")
        if device.type != "cuda":
            return self._read(indices).to(device)
        resident = self._on_device(device)
        if resident is not None:
            return resident.index_select(0, to_device(indices, device))
        return self._read(indices, pinned=True).to(device, non_blocking=True)

    def _read(self, indices: np.ndarray, *, pinned: bool = False) -> Tensor:
        """The stored rows; `pinned` in page-locked memory, from where the copy to a GPU runs beside the host."""
        rows = indices if self.rows is None else self.rows[indices]
        dtype = np.dtype(np.int32) if self.array.dtype == np.uint16 else self.array.dtype
        if not pinned or dtype != self.array.dtype:
            tensor = torch.from_numpy(self.array[rows].astype(dtype, copy=False))
            return tensor.pin_memory() if pinned else tensor
        like = torch.from_numpy(np.empty(0, dtype))
        buffer = torch.empty((len(rows), *self.array.shape[1:]), dtype=like.dtype, pin_memory=True)
        # mode="clip" writes straight to `out`; the rows are known to be in range.
        np.take(self.array, rows, axis=0, out=buffer.numpy(), mode="clip")
        return buffer

    def _on_device(self, device: torch.device) -> Tensor | None:
        if device not in self._resident:
            row_bytes = self.array[:1].nbytes
            free, total = torch.cuda.mem_get_info(device)
            resident = None
            if len(self) * row_bytes <= min(RESIDENT_SHARE * total, RESIDENT_SHARE_OF_FREE * free):
                step = max(1, _UPLOAD_BYTES // max(1, row_bytes))
                starts = range(0, len(self), step)
                parts = [self._read(np.arange(i, min(i + step, len(self))), pinned=True) for i in starts]
                resident = torch.cat([part.to(device, non_blocking=True) for part in parts])
            self._resident[device] = resident
        return self._resident[device]
