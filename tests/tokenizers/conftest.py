"""Signals of every modality, small enough for a forward and backward pass in a test, and small trainings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from latentbench.bench.training import train
from latentbench.tasks.memory_mapped import MemoryMapped
from latentbench.tokenizers.build import build
from latentbench.tokenizers.composed import ComposedTokenizer
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import Modality, SignalSpec

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


@pytest.fixture(scope="session")
def discs() -> tuple[Tensor, Tensor]:
    """512 images for training and 128 held out: discs of random place, size and colour on backgrounds of any colour."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    uniform = torch.rand(640, 9, 1, 1, generator=generator)
    place, radius = 16 * uniform[:, :2], 2 + 4 * uniform[:, 2]
    inside = torch.sigmoid(2 * (radius - ((y - place[:, 0]) ** 2 + (x - place[:, 1]) ** 2).sqrt())).unsqueeze(1)
    front, back = (2 * uniform[:, 3:] - 1).chunk(2, dim=1)
    images = inside * front + (1 - inside) * back
    return images[:512], images[512:]


@pytest.fixture(scope="session")
def fitted(discs: tuple[Tensor, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ComposedTokenizer]:
    """A function that trains a recipe on the discs by the training loop; the same one only once."""
    known: dict[str, ComposedTokenizer] = {}

    def fit(recipe: str, options: Mapping[str, Any] | None = None) -> ComposedTokenizer:
        key = json.dumps([recipe, options], sort_keys=True)
        if key not in known:
            signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))
            defaults = {"width": 8, "training": {"steps": 120, "batch_size": 16, "lr": 4e-3}}
            config = resolve(recipe, signal, {**defaults, **(options or {})})
            torch.manual_seed(0)
            tokenizer = build(config)
            assert isinstance(tokenizer, ComposedTokenizer)
            folder = tmp_path_factory.mktemp("fitted")
            train(
                tokenizer,
                MemoryMapped(discs[0].numpy()),
                config.training,
                seed=0,
                folder=folder,
                device=torch.device("cpu"),
            )
            known[key] = tokenizer
        return known[key]

    return fit


@torch.no_grad()
def _psnr(decoded: Tensor, images: Tensor) -> float:
    return (10 * torch.log10(4 / (decoded - images).square().flatten(1).mean(1))).mean().item()


@pytest.fixture(scope="session")
def quality(discs: tuple[Tensor, Tensor]) -> Callable[[ComposedTokenizer], float]:
    """A function from a tokenizer to the mean PSNR of its reconstructions of the held-out discs, in dB."""

    @torch.no_grad()
    def measure(tokenizer: ComposedTokenizer) -> float:
        return _psnr(tokenizer.decode(tokenizer.encode(discs[1])), discs[1])

    return measure


@pytest.fixture(scope="session")
def quality_of_mean(discs: tuple[Tensor, Tensor]) -> float:
    """The PSNR of the training split's mean image, in dB: that of a tokenizer that tells nothing."""
    return _psnr(discs[0].mean(0, keepdim=True), discs[1])
