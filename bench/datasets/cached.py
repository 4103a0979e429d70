"""A data set that is read: splits that give batches on a device, here out of a memory-mapped cache."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...tasks.memory_mapped import MemoryMapped, to_device
from ...tokenizers.mel import LogMel
from ...tokenizers.spec import SignalSpec
from .augment import flipped
from .config import DataConfig, signal_spec
from .entry import DamagedEntryError, read_index


class Signals:
    """One split: `len`, `labels` (int64 `[N]` or None), batches by index.

    Samples are stored as uint8 (images, video; v stands for v / 127.5 - 1) or int16 (sound; v / 32768). A batch comes
    to the device as it is stored and is converted there. `flips` says that training mirrors samples at random.
    """

    def __init__(self, signal: SignalSpec, labels: np.ndarray | None, *, flips: bool = False) -> None:
        self.signal, self.labels, self.augments = signal, labels, flips
        self._flips = flips
        self._mel: dict[torch.device, LogMel] = {}

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def stored(self, indices: np.ndarray, device: torch.device, draws: np.ndarray | None) -> Tensor:
        """The samples as they are stored, `[B, C, *shape]`, on `device` or on the CPU."""

    def batch(self, indices: np.ndarray, device: torch.device, draws: np.ndarray | None = None) -> Tensor:
        """The samples at `indices` (int64 `[B]`) as `[B, C, *shape]` float32 in [-1, 1] on `device`.

        With `draws` (int64 `[B]`, a number a sample) they are augmented at random, as these numbers decide.
        """
        signal = self.sources(indices, device, draws)
        if self.signal.mel is None:
            return signal
        if device not in self._mel:
            self._mel[device] = LogMel(self.signal.mel).to(device)
        with torch.no_grad():
            return self._mel[device](signal)

    def sources(self, indices: np.ndarray, device: torch.device, draws: np.ndarray | None = None) -> Tensor:
        """What the signals were made from: the waveform `[B, C, N]` of a spectrogram, else the same as `batch`."""
        raw = self.stored(np.asarray(indices, np.int64), torch.device(device), draws).to(device)
        if raw.dtype == torch.int16:
            return raw.to(torch.float32).mul_(1 / 32768)
        values = raw.to(torch.float32).mul_(1 / 127.5).sub_(1)
        if draws is not None and self._flips:
            mirrored = to_device(flipped(draws), torch.device(device)).view(-1, *[1] * (values.ndim - 1))
            values = torch.where(mirrored, values.flip(-1), values)
        return values

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mel": {}}


class CachedSplit(Signals):
    """A split whose samples lie decoded on disk, memory-mapped."""

    def __init__(
        self, *, signal: SignalSpec, samples: MemoryMapped, labels: np.ndarray | None, flips: bool = False
    ) -> None:
        super().__init__(signal, labels, flips=flips)
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def stored(self, indices: np.ndarray, device: torch.device, draws: np.ndarray | None) -> Tensor:
        return self._samples.batch(indices, device)


@dataclass(frozen=True, kw_only=True)
class CachedDataset:
    """A decoded data set.

    `skipped` names each file that was not used, as {file, reason}; `counts` has files, used, skipped, duplicates,
    train and val; `notes` says what is unusual about the data set (one line each).
    """

    name: str
    config: DataConfig
    signal: SignalSpec
    train: Signals
    val: Signals
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
            flips="flip" in config.augment,
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
