"""Latent denoising (B11): l-DeTok, Yang et al. 2025 (arXiv 2507.15856), section 3; RAE's noise, Zheng et al. 2025.

Shape legend: B batch, C channels of what the decoder reads, *grid its axes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import ranks
from ..auxiliary.config import TokenizerParts
from .base import Regulariser
from .latent_denoising_config import LatentDenoisingConfig

# The masked share is uniform from here on, negative shares counting as 0: some samples stay whole.
_LEAST_MASKED = -0.1


class LatentDenoising(Regulariser):
    """z -> (1 - t) z + t noise s e, or z + |n| noise s e; then some positions become the learned vector.

    The paper masks the encoder's input patches instead: there the encoder has to fill them in, here the decoder. The
    corruption `mask` or the regulariser `masked_modelling` hides patches of the signal.

    t is uniform in [0, 1] and n from N(0, 1), both per sample, e from N(0, I), and s each channel's deviation over the
    batch, without a gradient: larger latents are no way out of the noise.
    """

    def __init__(self, config: LatentDenoisingConfig, tokenizer: TokenizerParts) -> None:
        super().__init__()
        self.config = config
        width = tokenizer.bottleneck.outputs(tokenizer.channels, tokenizer.features)
        self.mask = nn.Parameter(torch.zeros(width)) if config.mask else None

    def values(self, values: Tensor) -> Tensor:
        if not self.training:
            return values
        corrupted = self.masked(self.noisy(values)) if self.config.noise else self.masked(values)
        if self.config.weight == 1:
            return corrupted
        chosen = torch.rand(_per_sample(values), device=values.device) < self.config.weight
        return torch.where(chosen, corrupted, values)

    def noisy(self, values: Tensor) -> Tensor:
        """`[B, C, *grid]` with noise of a level of its own in every sample."""
        axes = (0, *range(2, values.ndim))
        deviation = ranks.gathered(values.detach()).std(axes, correction=0, keepdim=True)
        noise = self.config.noise * deviation * torch.randn_like(values)
        if self.config.path == "additive":
            return values + torch.randn(_per_sample(values), device=values.device).abs() * noise
        return torch.lerp(values, noise, torch.rand(_per_sample(values), device=values.device))

    def masked(self, values: Tensor) -> Tensor:
        """`[B, C, *grid]` with round(share x positions) positions of every sample replaced."""
        if self.mask is None:
            return values
        batch, positions = len(values), values[0, 0].numel()
        low, high = _LEAST_MASKED, self.config.mask
        share = (low + (high - low) * torch.rand(batch, 1, device=values.device)).clamp_min(0)
        ranks = torch.rand(batch, positions, device=values.device).argsort(1).argsort(1)
        hidden = (ranks < (share * positions).round()).view(batch, 1, *values.shape[2:])
        return torch.where(hidden, self.mask.view(1, -1, *(1,) * (values.ndim - 2)), values)


def _per_sample(values: Tensor) -> tuple[int, ...]:
    return (len(values), *(1,) * (values.ndim - 1))
