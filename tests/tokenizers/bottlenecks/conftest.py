"""What the tests of several bottlenecks share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec


@pytest.fixture
def latent() -> Callable[[int], LatentSpec]:
    """A function from a number of channels to the latents' specification, of a small image."""

    def spec(channels: int) -> LatentSpec:
        signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))
        return LatentSpec(signal=signal, grids=(LatentGrid(shape=(4, 4), channels=channels),))

    return spec
