"""Elementwise losses, means over a sample's elements.

That is the negative log-likelihood summed over the sample, divided by its number of elements, and all other losses of
an objective are on that scale too.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from .base import Loss


class L1(Loss):
    """Mean |x' - x|."""

    def __call__(self, reconstruction: Tensor, signal: Tensor) -> Tensor:
        return (reconstruction - signal).abs().flatten(1).mean(1)


class L2(Loss):
    """Mean (x' - x)^2."""

    def __call__(self, reconstruction: Tensor, signal: Tensor) -> Tensor:
        return (reconstruction - signal).square().flatten(1).mean(1)


class Huber(Loss):
    """Mean of d^2 / 2 where |d| <= delta and delta (|d| - delta / 2) beyond, d = x' - x.

    Huber 1964 (Annals of Mathematical Statistics 35): a squared error on which outliers pull no harder than on L1.
    """

    def __call__(self, reconstruction: Tensor, signal: Tensor) -> Tensor:
        return F.huber_loss(reconstruction, signal, reduction="none", delta=self.config.delta).flatten(1).mean(1)
