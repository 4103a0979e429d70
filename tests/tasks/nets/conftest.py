"""Weights and small real signals for the tests of the feature nets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small convolutions on shared cores are fastest, and never slow, on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def weights_folder(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of real weights, named in LATENTBENCH_WEIGHTS."""
    folder = shared_data / "weights"
    monkeypatch.setenv("LATENTBENCH_WEIGHTS", str(folder))
    return folder


@pytest.fixture
def read_audio() -> Callable[[Path], tuple[Tensor, int]]:
    """A file's waveform `[1, C, N]` in [-1, 1] and its sample rate."""
    return _audio


@pytest.fixture
def read_clip() -> Callable[..., Tensor]:
    """`(path, frames=, size=)`: a file's first frames, every other one, `[1, 3, frames, size, size]` in [-1, 1]."""
    return _clip


def _audio(path: Path) -> tuple[Tensor, int]:
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        to_float = av.AudioResampler(format="fltp")
        frames = [f for frame in file.decode(stream) for f in to_float.resample(frame)]
        frames += to_float.resample(None)
        return torch.from_numpy(np.concatenate([f.to_ndarray() for f in frames], 1))[None], stream.rate


def _clip(path: Path, *, frames: int, size: int) -> Tensor:
    kept: list[np.ndarray] = []
    with av.open(str(path)) as file:
        for i, frame in enumerate(file.decode(video=0)):
            if i % 2 == 0:
                kept.append(frame.to_ndarray(format="rgb24", width=size, height=size))
            if len(kept) == frames:
                break
    return torch.from_numpy(np.stack(kept)).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
