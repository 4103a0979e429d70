"""Weights, real or random, and small real signals for the tests of the feature nets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from latentbench.tokenizers import weights


@pytest.fixture
def weights_folder(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of real weights, named in LATENTBENCH_WEIGHTS."""
    folder = shared_data / "weights"
    monkeypatch.setenv("LATENTBENCH_WEIGHTS", str(folder))
    return folder


@pytest.fixture
def random_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Tensor]]:
    """`(name, shapes)`: random tensors of such shapes, which `nets` finds as the weights `name` from then on.

    Convolutions keep the size of what flows through them; batch norms' scales and variances are positive and no two
    alike, so that a part that is left out or mixed up shows. A shape under a name that ends in "_int8" is of integers.
    """

    def install(name: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(0)
        tensors = {key: _random(key, tuple(shape), generator) for key, shape in shapes.items()}
        save_file(tensors, tmp_path / weights.known[name].filenames[0])
        monkeypatch.setenv("LATENTBENCH_WEIGHTS", str(tmp_path))
        return tensors

    return install


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if name.endswith("_int8"):
        return torch.randint(-127, 128, shape, generator=generator, dtype=torch.int8)
    if name.endswith("_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if name.endswith(("var", "variance", "gamma")) or (len(shape) == 1 and name.endswith(".weight")):
        return 0.5 + torch.rand(shape, generator=generator)
    values = torch.randn(shape, generator=generator)
    if len(shape) < 2:
        return 0.2 * values
    # A kernel is [height, width, in, out] in TensorFlow's files, a weight [out, in, ...] in torch's.
    inputs = values[..., 0].numel() if name.endswith("kernel") else values[0].numel()
    return values * (2 / inputs) ** 0.5


@pytest.fixture
def read_clip() -> Callable[..., Tensor]:
    """`(path, frames=, size=)`: a file's first frames, every other one, `[1, 3, frames, size, size]` in [-1, 1]."""
    return _clip


def _clip(path: Path, *, frames: int, size: int) -> Tensor:
    images: list[np.ndarray] = []
    with av.open(str(path)) as file:
        for i, frame in enumerate(file.decode(video=0)):
            if i % 2 == 0:
                images.append(frame.to_ndarray(format="rgb24", width=size, height=size))
            if len(images) == frames:
                break
    return torch.from_numpy(np.stack(images)).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
