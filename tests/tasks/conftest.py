"""Tokenizers, data, nets and priors whose numbers are known beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from latentbench.tasks.interface import Context, FeatureNet
from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.config import PriorConfig
from latentbench.tasks.priors.heldout import NLL_BITS
from latentbench.tasks.priors.interface import Prior
from latentbench.tokenizers.interface import Latents, Tokenizer
from latentbench.tokenizers.mel import LogMel
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, MelSpec, Modality, SignalSpec

IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))
VIDEO = SignalSpec(modality=Modality.VIDEO, channels=3, shape=(3, 16, 16), rate=8.0)
MEL = MelSpec(sample_rate=8000, n_mels=24, n_fft=256, hop=64)
SOUND = SignalSpec(
    modality=Modality.SPECTROGRAM, channels=1, shape=(24, 32), rate=8000.0, mel=MEL, source_shape=(1, 2048)
)


class Signals:
    """A split of smooth random signals, or of tones as log-mel."""

    def __init__(self, signal: SignalSpec, n: int, seed: int, *, scale: float = 0.4) -> None:
        self.signal = signal
        generator = torch.Generator().manual_seed(seed)
        self.waves: Tensor | None = None
        if signal.mel is not None:
            time = torch.arange(2048) / 8000
            pitch = 200 + 1500 * torch.rand(n, 1, 1, generator=generator)
            self.waves = 0.5 * torch.sin(2 * np.pi * pitch * time)
            self.data = LogMel(signal.mel)(self.waves)
        else:
            self.data = (scale * torch.randn(n, signal.channels, *signal.shape, generator=generator)).clamp(-1, 1)
        self.labels = np.arange(n, dtype=np.int64) % 4

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, indices: np.ndarray, device: torch.device) -> Tensor:
        return self.data[torch.from_numpy(indices)].to(device)

    def sources(self, indices: np.ndarray, device: torch.device) -> Tensor:
        return self.batch(indices, device) if self.waves is None else self.waves[torch.from_numpy(indices)].to(device)


class Data:
    """A data set of such signals."""

    name, classes, fingerprint = "toy", ("a", "b", "c", "d"), "f"

    def __init__(self, signal: SignalSpec = IMAGE, *, train: int = 48, val: int = 20) -> None:
        self.signal = signal
        self.train, self.val = Signals(signal, train, 1), Signals(signal, val, 2)


class Identity(Tokenizer):
    """Latents are the signal; `error` is added to what is decoded, `std` is the posterior's deviation."""

    def __init__(self, signal: SignalSpec = IMAGE, *, error: float | Tensor = 0.0, std: float | None = None) -> None:
        self.signal, self.error, self.std = signal, error, std

    @property
    def spec(self) -> LatentSpec:
        return LatentSpec(
            signal=self.signal, grids=(LatentGrid(shape=self.signal.shape, channels=self.signal.channels),)
        )

    def encode(self, signal: Tensor) -> Latents:
        return Latents(values=signal, scale=None if self.std is None else torch.full_like(signal, self.std))

    def decode(self, latents: Latents) -> Tensor:
        assert latents.values is not None
        return latents.values + self.error


class Levels(Tokenizer):
    """Scalar quantisation of grey-valued patches: one code of `size` per 4x4 patch."""

    def __init__(self, size: int = 8) -> None:
        self.size = size

    @property
    def spec(self) -> LatentSpec:
        return LatentSpec(signal=IMAGE, grids=(LatentGrid(shape=(4, 4), channels=1, codebook_sizes=(self.size,)),))

    def encode(self, signal: Tensor) -> Latents:
        means = nn.functional.avg_pool2d(signal.mean(1, keepdim=True), 4)
        codes = ((means * 4 + 1) / 2 * self.size).long().clamp(0, self.size - 1)
        return Latents(values=self._values(codes), codes=codes)

    def decode(self, latents: Latents) -> Tensor:
        values = latents.values if latents.values is not None else self._values(latents.codes)  # type: ignore[arg-type]
        return values.repeat_interleave(4, 2).repeat_interleave(4, 3).expand(-1, 3, -1, -1)

    def _values(self, codes: Tensor) -> Tensor:
        return (2 * (codes.float() + 0.5) / self.size - 1) / 4


class Pixels(FeatureNet):
    """Features are the mean of each quarter of the picture, per channel, or of the spectrum of the rendered sound."""

    dim, protocol, blind_to = 12, "quarters", "what a quarter holds"

    def __init__(self, name: str = "pixels", reads: str = "signal") -> None:
        super().__init__()
        self.name, self.reads = name, reads  # type: ignore[assignment]

    def forward(self, signal: Tensor) -> Tensor:
        if self.reads == "waveform":
            assert signal.shape[1:] == (1, 2048)
            spectrum = torch.fft.rfft(signal[:, 0]).abs()[:, :1020]
            return spectrum.unflatten(1, (12, -1)).mean(2)
        frames = signal if signal.ndim == 4 else signal.mean(2)
        return nn.functional.adaptive_avg_pool2d(frames.expand(-1, 3, -1, -1), 2).flatten(1)


class Replay(Prior):
    """A prior whose samples are given."""

    held_out_scores = (NLL_BITS,)

    def __init__(self, spec: LatentSpec, samples: Tensor) -> None:
        super().__init__(PriorConfig(), spec)
        self.samples = nn.Parameter(samples, requires_grad=False)

    def losses(self, batch: LatentBatch, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
        raise NotImplementedError

    def held_out(self, batch: LatentBatch) -> dict[str, Tensor]:
        assert batch.indices is not None
        return {"nll_bits": 768.0 * (1 + batch.indices.float()), "loss": batch.indices.float()}

    def sample_at(self, indices: range, *, seed: int) -> Latents:
        return Latents(values=self.samples[indices.start : indices.stop])


def context(folder: Path, *nets: FeatureNet, **options: Any) -> Context:
    """A task's context on the CPU."""

    fields: dict[str, Any] = {"device": torch.device("cpu"), "seed": 0, "folder": folder}
    return Context(**fields | options, nets={net.name: net.eval() for net in nets})


@pytest.fixture(scope="session")
def toys() -> SimpleNamespace:
    """The classes and signals of this file by name."""
    names = ("IMAGE", "VIDEO", "SOUND", "Signals", "Data", "Identity", "Levels", "Pixels", "Replay", "context")
    return SimpleNamespace(**{name: globals()[name] for name in names})


@pytest.fixture
def read_audio() -> Callable[[Path], tuple[Tensor, int]]:
    """A file's waveform `[1, C, N]` in [-1, 1] and its sample rate."""
    return _audio


def _audio(path: Path) -> tuple[Tensor, int]:
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        to_float = av.AudioResampler(format="fltp")
        frames = [f for frame in file.decode(stream) for f in to_float.resample(frame)]
        frames += to_float.resample(None)
        return torch.from_numpy(np.concatenate([f.to_ndarray() for f in frames], 1))[None], stream.rate
