"""What a vocoder starts from, computed once for each sample of a training."""

from __future__ import annotations

import tempfile
import weakref
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...tokenizers.mel import LogMel
from ..interface import BatchSource
from .base import Vocoder


class Started:
    """At most `samples` waveforms `[B, C, N]` of a source, evenly spread, each beside the vocoder's `start` of it.

    A start is computed when its sample is first asked for, and alone: its bits are the same whatever else is in the
    batch. From then on it is read from a temporary file in `folder`, float32, which no other process sees.
    """

    def __init__(self, waveforms: BatchSource, vocoder: Vocoder, folder: Path, *, samples: int) -> None:
        self.waveforms, self.vocoder = waveforms, vocoder
        self.rows = np.linspace(0, len(waveforms) - 1, min(samples, len(waveforms))).round().astype(np.int64)
        self.shape = (vocoder.signal.channels, vocoder.signal.shape[-1] * vocoder.mel.hop)
        self._log_mel = LogMel(vocoder.mel)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (as long as this lives)
        weakref.finalize(self, self._file.close)
        self._stored = np.zeros(len(self.rows), bool)

    def __len__(self) -> int:
        return len(self.rows)

    def expect(self, indices: np.ndarray, draws: np.ndarray | None = None) -> None:
        if expect := getattr(self.waveforms, "expect", None):
            expect(self.rows[indices])

    def batch(self, indices: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
        """Waveforms `[B, C, N]` and starts `[B, C, T * hop]`. Raises OSError where the disk is full."""
        waves: Tensor = self.waveforms.batch(self.rows[indices], device)
        log_mel = self._log_mel.to(device)
        for index, wave in zip(indices.tolist(), waves, strict=True):
            if not self._stored[index]:
                self._write(index, self.vocoder.start(log_mel(wave[None])))
        starts = torch.from_numpy(np.stack([self._read(index) for index in indices.tolist()]))
        return waves, starts.to(device)

    def _write(self, index: int, start: Tensor | None) -> None:
        assert start is not None
        array = start[0].float().cpu().numpy()
        self._file.seek(index * array.nbytes)
        self._file.write(array.tobytes())
        self._stored[index] = True

    def _read(self, index: int) -> np.ndarray:
        size = 4 * self.shape[0] * self.shape[1]
        self._file.seek(index * size)
        return np.frombuffer(self._file.read(size), np.float32).reshape(self.shape)
