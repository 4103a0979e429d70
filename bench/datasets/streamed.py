"""A data set whose files are decoded while they are used: for sets too large to be decoded before the first step.

Its entry in the cache holds `files.sqlite` (the files by rank), `labels.npy` and `meta.json`, and of samples only those
for validation that a job has decoded, which every job reads. Sample i of a split is that of its i-th file by rank;
where that file can't be used, that of the next one which can. Memory and the time before the first step depend on the
number of files through that table alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .cache import Cache
from .cached import CachedDataset, Signals
from .config import DataConfig, signal_spec, stored_shape
from .decode_ahead import Decoders
from .entry import DamagedEntryError, read_index
from .file_source import FileSource
from .shared_samples import SharedSamples


class StreamedSplit(Signals):
    """`count` files from rank `first` on, as a split; `expect` has the decoding of coming batches begin. What any
    process has decoded is read from `shared`."""

    def __init__(
        self,
        config: DataConfig,
        decoders: Decoders,
        *,
        first: int,
        count: int,
        labels: np.ndarray | None,
        shared: SharedSamples | None = None,
    ) -> None:
        super().__init__(signal_spec(config), labels, flips="flip" in config.augment)
        self.augments = bool(config.augment)
        self._decoders, self._first, self._count, self._shared = decoders, first, count, shared

    def __len__(self) -> int:
        return self._count

    def expect(self, indices: np.ndarray, draws: np.ndarray | None = None) -> None:
        """The samples at `indices` will be asked for, with the same `draws`."""
        if draws is None and self._shared is not None:
            indices = indices[~self._shared.present(indices)]
        if len(indices):
            self._decoders.submit(self._ranks(indices), draws)

    def stored(self, indices: np.ndarray, device: torch.device, draws: np.ndarray | None) -> Tensor:
        samples = torch.from_numpy(self._decoded(indices, draws))
        return samples.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else samples

    def _decoded(self, indices: np.ndarray, draws: np.ndarray | None) -> np.ndarray:
        if draws is not None or self._shared is None:
            return self._decoders.take(self._ranks(indices), draws)
        self._ranks(indices)  # none outside
        samples, present = self._shared.read(indices)
        missing = indices[~present]
        if len(missing):
            samples[~present] = self._decoders.take(self._ranks(missing), None)
            self._shared.write(missing, samples[~present])
        return samples

    def _ranks(self, indices: np.ndarray) -> np.ndarray:
        if len(indices) and (indices.min() < 0 or indices.max() >= self._count):
            raise IndexError(f"indices must lie in [0, {self._count})")
        ranks = np.stack([self._first + indices, np.full(len(indices), self._first)], axis=1)
        return np.concatenate([ranks, np.full((len(indices), 1), self._count)], axis=1)


def load(folder: Path, config: DataConfig, fingerprint: str, *, source: FileSource) -> CachedDataset:
    """The cache's entry `folder` as a data set. Raises DamagedEntryError."""
    meta = read_index(folder)
    try:
        labels = np.load(folder / "labels.npy", mmap_mode="r") if (folder / "labels.npy").exists() else None
        counts: dict[str, int] = meta["counts"]
        root, val, train = Path(meta["root"]), counts["val"], counts["train"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedEntryError(str(error)) from None
    decoders = Decoders(config, source, root, folder / "files.sqlite")

    dtype = np.dtype(np.int16 if config.modality.is_audio else np.uint8)
    samples = SharedSamples(folder, count=val, shape=stored_shape(config), dtype=dtype)
    shared = samples if samples.make(Cache(folder.parent.parent)) else None

    def split(first: int, count: int, shared: SharedSamples | None) -> Any:
        part = None if labels is None else labels[first : first + count]
        return StreamedSplit(config, decoders, first=first, count=count, labels=part, shared=shared)

    return CachedDataset(
        name=config.label,
        config=config,
        signal=signal_spec(config),
        train=split(val, train, None),
        val=split(0, val, shared),
        classes=tuple(meta["classes"]),
        fingerprint=fingerprint,
        skipped=tuple(meta["skipped"]),
        counts=counts,
        notes=tuple(meta["notes"]),
    )
