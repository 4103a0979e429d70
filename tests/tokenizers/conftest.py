"""Signals of every modality, small enough for a forward and backward pass in a test."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from latentbench.tokenizers.spec import SignalSpec

SHAPES = {"image": (16, 24), "video": (4, 16, 8), "waveform": (2048,), "spectrogram": (16, 8)}


@pytest.fixture(params=SHAPES)
def signal(request: pytest.FixtureRequest, make_signal: Callable[..., SignalSpec]) -> SignalSpec:
    """The signal of each modality in turn."""
    return make_signal(request.param, SHAPES[request.param], rate=16_000.0)


@pytest.fixture
def image(make_signal: Callable[..., SignalSpec]) -> SignalSpec:
    """A small image."""
    return make_signal("image", SHAPES["image"])


@pytest.fixture
def sample() -> Callable[..., Tensor]:
    """A function from a signal and a batch size to smooth random signals in [-1, 1]."""

    def draw(signal: SignalSpec, batch: int = 3) -> Tensor:
        return torch.tanh(torch.randn(batch, signal.channels, *signal.shape))

    return draw
