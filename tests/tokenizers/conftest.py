"""Signals of every modality, small enough for a forward and backward pass in a test."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from latentbench.tokenizers.spec import MelSpec, Modality, SignalSpec

SIGNALS = {
    "image": SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 24)),
    "video": SignalSpec(modality=Modality.VIDEO, channels=3, shape=(4, 16, 8), rate=8.0),
    "waveform": SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(2048,), rate=16000.0),
    "spectrogram": SignalSpec(
        modality=Modality.SPECTROGRAM,
        channels=1,
        shape=(16, 8),
        rate=16000.0,
        mel=MelSpec(sample_rate=16000, n_mels=16),
        source_shape=(1, 2048),
    ),
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(params=list(SIGNALS))
def signal(request: pytest.FixtureRequest) -> SignalSpec:
    """The signal of each modality in turn."""
    return SIGNALS[request.param]


@pytest.fixture
def image() -> SignalSpec:
    """A small image."""
    return SIGNALS["image"]


@pytest.fixture
def sample() -> Callable[..., Tensor]:
    """A function from a signal and a batch size to smooth random signals in [-1, 1]."""

    def draw(signal: SignalSpec, batch: int = 3) -> Tensor:
        return torch.tanh(torch.randn(batch, signal.channels, *signal.shape))

    return draw
