"""The bottleneck of the plain autoencoder (AE, A1): only the number of elements."""

from __future__ import annotations

from torch import Tensor

from ..interface import Latents
from .base import Bottleneck, BottleneckOutput


class Identity(Bottleneck):
    """Features are the latents."""

    def forward(self, features: Tensor) -> BottleneckOutput:
        return BottleneckOutput(values=features)

    def encode(self, features: Tensor) -> Latents:
        return Latents(values=features)
