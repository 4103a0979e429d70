"""What a prior in closed form is. Shape legend: N samples, C channels, H heads, *grid the axes of a latent."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ...tokenizers.interface import Latents
from ...tokenizers.seeding import derive_seed
from ...tokenizers.spec import LatentSpec
from .config import ClosedFormConfig


class ClosedForm(ABC):
    """A distribution of latents, fitted by `fit` and then drawn from: on the CPU, given on `device`."""

    device = torch.device("cpu")

    def __init__(self, config: ClosedFormConfig, spec: LatentSpec) -> None:
        self.config = config
        self.spec = spec

    @abstractmethod
    def fit(self, data: Tensor) -> None:
        """Fit to values `[N, C, *grid]`, normalised per channel, or to codes `[N, H, *grid]` int64; on the CPU."""

    @abstractmethod
    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """`n` samples, shaped like the data."""

    def sample(self, n: int, *, seed: int, batch_size: int, start: int = 0) -> Latents:
        """Samples `start` to `start + n` of a stream, as priors that are trained give them."""
        drawn = self.draw(n, torch.Generator().manual_seed(derive_seed(seed, "closed_form", start))).to(self.device)
        return Latents(codes=drawn) if self.spec.discrete else Latents(values=drawn.float())
