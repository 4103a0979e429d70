"""Specs of latents to be described."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec


@pytest.fixture
def spec() -> Callable[..., LatentSpec]:
    """A function from a shape, channels and codebook sizes to the spec of such latents."""

    def make(shape: tuple[int, ...], channels: int = 1, sizes: tuple[int, ...] = ()) -> LatentSpec:
        signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(32, 32))
        return LatentSpec(signal=signal, grids=(LatentGrid(shape=shape, channels=channels, codebook_sizes=sizes),))

    return make
