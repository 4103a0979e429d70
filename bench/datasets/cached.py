"""A decoded data set, memory-mapped: splits that give batches on a device."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...results.errors import UserError
from ...tokenizers.mel import LogMel
from ...tokenizers.spec import SignalSpec
from .config import DataConfig, signal_spec
from .source import Source

# A split is kept on the GPU when it takes at most this share of the GPU's memory and of what is free of it: several
# jobs may share the device, each with its own copy.
RESIDENT_SHARE = 0.05
RESIDENT_SHARE_OF_FREE = 0.25
_UPLOAD = 64 << 20


class CachedSplit:
    """One split: `len`, `labels` (int64 `[N]` or None), batches by index.

    Samples are stored as uint8 (images, video; v stands for v / 127.5 - 1) or int16 (sound; v / 32768). A batch is
    copied to the device as it is stored and converted there. On a GPU a split small enough (`RESIDENT_SHARE`) stays.
    """

    def __init__(
        self,
        *,
        name: str,
        signal: SignalSpec,
        samples: np.ndarray,
        rows: np.ndarray,
        labels: np.ndarray | None,
        config: DataConfig,
        source: Source,
    ) -> None:
        self.name = name
        self.signal = signal
        self.labels = labels
        self._samples = samples
        self._rows = rows
        self._config = config
        self._source = source
        self._mel: dict[torch.device, LogMel] = {}
        self._resident: dict[torch.device, Tensor | None] = {}

    def __len__(self) -> int:
        return len(self._rows)

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
        raw = self._raw(np.asarray(indices, np.int64), torch.device(device))
        if raw.dtype == torch.int16:
            return raw.to(torch.float32).mul_(1 / 32768)
        return raw.to(torch.float32).mul_(1 / 127.5).sub_(1)

    def masks(self, indices: np.ndarray) -> np.ndarray | None:
        """Where the samples have structure, `[B, *shape]` bool (sound: `[B, N]` in time); None when not known."""
        masks = getattr(self._source, "masks", None)
        return None if masks is None else masks(self._config, self.name, np.asarray(indices, np.int64))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mel": {}, "_resident": {}}

    def _raw(self, indices: np.ndarray, device: torch.device) -> Tensor:
        if len(indices) and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"indices must lie in [0, {len(self)})")
        if device.type != "cuda":
            return torch.from_numpy(self._samples[self._rows[indices]]).to(device)
        resident = self._on_device(device)
        if resident is not None:
            return resident.index_select(0, torch.from_numpy(indices).pin_memory().to(device, non_blocking=True))
        return self._pinned(self._rows[indices]).to(device, non_blocking=True)

    def _pinned(self, rows: np.ndarray) -> Tensor:
        """The stored samples `rows` in page-locked memory, from where the copy to a GPU runs beside the host."""
        dtype = torch.int16 if self._samples.dtype == np.int16 else torch.uint8
        buffer = torch.empty((len(rows), *self._samples.shape[1:]), dtype=dtype, pin_memory=True)
        # mode="clip" writes straight to `out`; the rows are known to be in range.
        np.take(self._samples, rows, axis=0, out=buffer.numpy(), mode="clip")
        return buffer

    def _on_device(self, device: torch.device) -> Tensor | None:
        if device not in self._resident:
            size = len(self) * self._samples[:1].nbytes
            free, total = torch.cuda.mem_get_info(device)
            kept = None
            if size <= min(RESIDENT_SHARE * total, RESIDENT_SHARE_OF_FREE * free):
                step = max(1, _UPLOAD // self._samples[:1].nbytes)
                parts = [self._pinned(self._rows[i : i + step]) for i in range(0, len(self), step)]
                kept = torch.cat([part.to(device, non_blocking=True) for part in parts])
            self._resident[device] = kept
        return self._resident[device]


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


def load(folder: Path, config: DataConfig, source: Source, fingerprint: str) -> CachedDataset:
    """The cache's entry `folder` as a data set. Raises UserError when the entry is damaged."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        shape = (meta["samples"], *meta["shape"])
        samples = np.memmap(folder / "samples.bin", dtype=meta["dtype"], mode="r", shape=shape)
        labels = np.load(folder / "labels.npy") if (folder / "labels.npy").exists() else None
        rows = {name: np.load(folder / f"{name}.npy") for name in ("train", "val")}
        # Read once here, a file cut short is one clear line; read later, it is a bus error.
        if (folder / "samples.bin").stat().st_size != samples.nbytes:
            raise ValueError("samples.bin has the wrong size")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"cache: the entry {folder} is damaged ({error}); remove that folder") from None
    signal = signal_spec(config)
    splits = {
        name: CachedSplit(
            name=name,
            signal=signal,
            samples=samples,
            rows=rows[name],
            labels=None if labels is None else labels[rows[name]],
            config=config,
            source=source,
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
