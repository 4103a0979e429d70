"""Latents of two grids to scramble, continuous and discrete."""

from __future__ import annotations

import pytest
import torch

from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, SignalSpec

COARSE, FINE = (2, 3), (4, 6)


@pytest.fixture
def continuous(image: SignalSpec) -> LatentSpec:
    """A hierarchy of two continuous grids."""
    return LatentSpec(signal=image, grids=(LatentGrid(shape=COARSE, channels=3), LatentGrid(shape=FINE, channels=5)))


@pytest.fixture
def discrete(image: SignalSpec) -> LatentSpec:
    """Two heads on one grid."""
    return LatentSpec(signal=image, grids=(LatentGrid(shape=FINE, channels=5, codebook_sizes=(7, 16)),))


@pytest.fixture
def fine() -> Latents:
    """Latents of the finer grid, with a posterior."""
    values = torch.randn(6, 5, *FINE)
    return Latents(values=values, scale=0.1 + torch.rand_like(values))
