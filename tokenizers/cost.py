"""Parameters and floating-point operations as arithmetic, so that a plan can be priced before anything is built.

One multiply-add counts as two operations; normalisations, activations and additions are not counted (as in
`torch.utils.flop_counter`, against which the sums are tested).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Trainable parameters, and forward FLOPs for one sample."""

    parameters: int = 0
    flops: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(parameters=self.parameters + other.parameters, flops=self.flops + other.flops)


def conv(inputs: int, outputs: int, kernel: Sequence[int], shape: Sequence[int]) -> Cost:
    """A convolution with bias from `inputs` to `outputs` channels whose output grid is `shape`."""
    weights = inputs * outputs * math.prod(kernel)
    return Cost(parameters=weights + outputs, flops=2.0 * weights * math.prod(shape))


def pointwise(inputs: int, outputs: int, shape: Sequence[int]) -> Cost:
    """A 1x1 convolution with bias."""
    return conv(inputs, outputs, (1,), shape)


def norm(channels: int) -> Cost:
    """A normalisation's scale and shift."""
    return Cost(parameters=2 * channels)
