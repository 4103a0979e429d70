"""A decoded data set, memory-mapped: splits that give batches on a device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...tasks.memory_mapped import MemoryMapped
from ...tokenizers.mel import LogMel
from ...tokenizers.spec import SignalSpec
from .config import DataConfig, signal_spec
from .entry import DamagedEntryError, read_index


class CachedSplit:
    """One split: `len`, `labels` (int64 `[N]` or None), batches by index.

    Samples are stored as uint8 (images, video; v stands for v / 127.5 - 1) or int16 (sound; v / 32768). A batch is
    copied to the device as it is stored (see `MemoryMapped`) and converted there.
    """

    def __init__(
        self,
        *,
        signal: SignalSpec,
        samples: MemoryMapped,
        labels: np.ndarray | None,
    ) -> None:
        self.signal = signal
        self.labels = labels
        self._samples = samples
        self._mel: dict[torch.device, LogMel] = {}

    def __len__(self) -> int:
        return len(self._samples)

    def batch(self, indices: np.ndarray, device: torch.device) -> Tensor:
        """The samples at `indices` (int64 `[B]`) as `[B, C, *shape]` float32 in [-1, 1] on `device`."""
        signal = self.sources(indices, device)
        if self.signal.mel is None:
            return signal
        if device not in self._mel:
            self._mel[device] = LogMel(self.signal.mel).to(device)
        with torch.no_grad():
            return self._mel[device](signal)

    def sources(self, indices: np.ndarray, device: torch.device) -> Tensor:
        """What the signals were made from: the waveform `[B, C, N]` of a spectrogram, else the same as `batch`."""
        raw = self._samples.batch(np.asarray(indices, np.int64), torch.device(device))
        if raw.dtype == torch.int16:
            return raw.to(torch.float32).mul_(1 / 32768)
        return raw.to(torch.float32).mul_(1 / 127.5).sub_(1)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mel": {}}


@dataclass(frozen=True, kw_only=True)
class CachedDataset:
    """A decoded data set.

    `skipped` names each file that was not used, as {file, reason}; `counts` has files, used, skipped, duplicates,
    train and val; `notes` says what is unusual about the data set (one line each).
    """

    name: str
    config: DataConfig
    signal: SignalSpec
    train: CachedSplit
    val: CachedSplit
    classes: tuple[str, ...]
    fingerprint: str
    skipped: tuple[dict[str, str], ...]
    counts: dict[str, int]
    notes: tuple[str, ...]


def load(folder: Path, config: DataConfig, fingerprint: str) -> CachedDataset:
    """The cache's entry `folder` as a data set. Raises DamagedEntryError."""
    meta = read_index(folder)
    try:
        shape = (meta["samples"], *meta["shape"])
        samples = np.memmap(folder / "samples.bin", dtype=meta["dtype"], mode="r", shape=shape)
        labels = np.load(folder / "labels.npy") if (folder / "labels.npy").exists() else None
        rows = {name: np.load(folder / f"{name}.npy") for name in ("train", "val")}
        # Read once here, a file cut short is one clear line; read later, it is a bus error.
        if (folder / "samples.bin").stat().st_size != samples.nbytes:
            raise ValueError("samples.bin has the wrong size")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedEntryError(str(error)) from None
    signal = signal_spec(config)
    splits = {
        name: CachedSplit(
            signal=signal,
            samples=MemoryMapped(samples, rows[name]),
            labels=None if labels is None else labels[rows[name]],
        )
        for name in ("train", "val")
    }
    return CachedDataset(
        name=config.label,
        config=config,
        signal=signal,
        train=splits["train"],
        val=splits["val"],
        classes=tuple(meta["classes"]),
        fingerprint=fingerprint,
        skipped=tuple(meta["skipped"]),
        counts=meta["counts"],
        notes=tuple(meta["notes"]),
    )
