"""Times of diffusion and flows: their draw in training, their features and embedding, and a block that reads them.

Shape legend: B batch, C channels, *grid the axes of a level, E embedding width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..micro_batch import rows
from ..recompute import RecomputedBlock
from .conv import conv, group_norm, pointwise

# Times lie in [0, 1], and sinusoids are usually made for steps that count to a thousand.
_TIME_SCALE = 1000.0
_LONGEST_PERIOD = 10_000.0


def time_features(t: Tensor, count: int) -> Tensor:
    """Times `[B]` in [0, 1] to cosines and sines of geometrically spaced frequencies, `[B, count]`."""
    half = count // 2
    exponents = torch.arange(half, device=t.device, dtype=torch.float32) / half
    angles = _TIME_SCALE * t.float()[:, None] * torch.exp(-math.log(_LONGEST_PERIOD) * exponents)
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


def stratified_times(n: int, device: torch.device) -> Tensor:
    """`[n]` uniform times, one in each of n equal parts of [0, 1), in order; of a micro-batch its part of them."""
    first, count = rows(n)
    return (torch.arange(first, first + n, device=device) + torch.rand(n, device=device)) / count


def logit_normal_times(n: int, mean: float, std: float, device: torch.device) -> Tensor:
    """`[n]` times sigmoid(mean + std * normal), one from each of n equal strata of the distribution, in order.

    The logit-normal training times of Esser et al. 2024 (arXiv 2403.03206, section 3.1).
    """
    return torch.sigmoid(mean + std * torch.special.ndtri(stratified_times(n, device).clamp(1e-6, 1 - 1e-6)))


class TimeEmbedding(nn.Module):
    """`features` sinusoids of a time through two layers, `[B]` to `[B, E]`, the last non-linearity applied."""

    def __init__(self, width: int, *, features: int) -> None:
        super().__init__()
        self.features = features
        self.first = nn.Linear(features, width)
        self.second = nn.Linear(width, width)

    def forward(self, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """Embeddings of times, with `condition` `[B, E]` added before the last non-linearity."""
        h = self.second(F.silu(self.first(time_features(t, self.features))))
        return F.silu(h if condition is None else h + condition)


class TimeBlock(RecomputedBlock):
    """`[B, inputs, *grid]` to `[B, width, *grid]`, scaled and shifted by the time after the second norm.

    As in Dhariwal & Nichol 2021 (arXiv 2105.05233). Starts as the identity, a projection where widths differ.
    """

    def __init__(
        self, inputs: int, width: int, rank: int, *, groups: int, embedding: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1 = group_norm(inputs, groups)
        self.conv1 = conv(inputs, width, (3,) * rank)
        self.norm2 = group_norm(width, groups)
        self.modulation = nn.Linear(embedding, 2 * width)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.conv2 = conv(width, width, (3,) * rank)
        self.skip = pointwise(inputs, width, rank) if inputs != width else nn.Identity()
        for parameter in self.conv2.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Scale and shift come from `embedding` `[B, E]`."""
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))
        shape = (len(x), -1, *([1] * (x.dim() - 2)))
        scale, shift = (part.view(shape) for part in self.modulation(embedding).chunk(2, dim=-1))
        return self.skip(x) + self.conv2(self.dropout(F.silu(torch.addcmul(shift, h, 1 + scale))))
