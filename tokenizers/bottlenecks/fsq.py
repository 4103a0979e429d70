"""Finite scalar quantisation (FSQ, A8): Mentzer et al. 2023 (arXiv 2309.15505), section 3."""

from __future__ import annotations

import torch
from torch import Tensor

from ..interface import Latents
from ..spec import LatentSpec
from .base import Bottleneck, BottleneckOutput
from .fsq_config import FSQConfig

# The bound reaches a little past the outermost levels, which otherwise only an infinite feature would choose.
_SLACK = 1e-3


class FSQ(Bottleneck):
    """Channel i is squashed into `levels[i]` steps of one and rounded; gradients pass the rounding straight through.

    bound(x) = h tanh(x + s) - o with h = (L - 1)(1 + 0.001) / 2 and, for even L, o = 1/2 and s = atanh(o / h), so that
    zero maps to zero. Values are round(bound(x)) / floor(L / 2), in [-1, 1]; the code is the mixed-radix number of the
    digits round(bound(x)) + floor(L / 2), the first channel the fastest. Runs in float32: bf16 can't hold the digits.
    """

    reach: Tensor
    offset: Tensor
    shift: Tensor
    centre: Tensor
    levels: Tensor
    radix: Tensor

    def __init__(self, config: FSQConfig, spec: LatentSpec, *, features: int) -> None:
        super().__init__(config, spec, features=features)
        levels = torch.tensor(config.levels)
        half = (levels - 1) * (1 + _SLACK) / 2
        offset = torch.where(levels % 2 == 0, 0.5, 0.0)
        for name, value in {
            "reach": half,
            "offset": offset,
            "shift": torch.atanh(offset / half),
            "centre": levels // 2,
            "levels": levels,
            "radix": torch.cat([levels.new_ones(1), levels.cumprod(0)[:-1]]),
        }.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, features: Tensor) -> BottleneckOutput:
        bounded = self._bound(features)
        steps = bounded + (bounded.round() - bounded).detach()
        return BottleneckOutput(values=steps / _along(self.centre, steps))

    def encode(self, features: Tensor) -> Latents:
        digits = self._bound(features).round().long() + _along(self.centre, features)
        codes = (digits * _along(self.radix, features)).sum(1, keepdim=True)
        return Latents(values=self.lookup(codes), codes=codes)

    def lookup(self, codes: Tensor) -> Tensor:
        """`[B, 1, *grid]` codes to values `[B, len(levels), *grid]`."""
        digits = codes // _along(self.radix, codes) % _along(self.levels, codes)
        centre = _along(self.centre, codes)
        return (digits - centre).float() / centre

    def _bound(self, features: Tensor) -> Tensor:
        x = features.float()
        return _along(self.reach, x) * torch.tanh(x + _along(self.shift, x)) - _along(self.offset, x)


def _along(channels: Tensor, like: Tensor) -> Tensor:
    return channels.view(1, -1, *(1,) * (like.ndim - 2))
