"""Additive Gaussian noise: Vincent et al. 2010 (Journal of Machine Learning Research 11), section 3.3."""

from __future__ import annotations

import torch
from torch import Tensor

from ..spec import SignalSpec
from .noise_config import NoiseConfig


class Noise:
    """x + sigma e with e from N(0, I), not clamped."""

    def __init__(self, config: NoiseConfig, signal: SignalSpec, downsample: tuple[int, ...]) -> None:
        self.sigma = config.sigma

    def __call__(self, signal: Tensor) -> Tensor:
        """`[B, C, *signal]` with noise."""
        return signal + self.sigma * torch.randn_like(signal)
