"""What a diffusion decoder is to the tokenizer that holds it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class DiffusionDecoder(nn.Module):
    """Turns a condition, the feed-forward decoder's output `[B, C, *signal]`, into the signal. Runs in float32."""

    def losses(self, signal: Tensor, condition: Tensor, *, step: int, steps: int) -> Mapping[str, Tensor]:
        """Scalars that are added to the tokenizer's loss; through `condition` their gradient reaches the rest of it."""
        raise NotImplementedError

    def sample(self, condition: Tensor, *, steps: int | None = None) -> Tensor:
        """`[B, C, *signal]`: deterministic, and each sample independent of the batch; `steps` None as configured."""
        raise NotImplementedError

    def freezes_encoder(self, *, step: int, steps: int) -> bool:
        """Whether encoder and bottleneck stay as they are in this step: the decoder alone learns."""
        return False

    def operating_points(self) -> tuple[int, ...]:
        """Numbers of sampling steps at which its quality and latency are reported."""
        return ()

    @torch.no_grad()
    def after_step(self, *, step: int, steps: int) -> None:
        """Updates without a gradient, after the optimisers' steps."""

    def drop_training_modules(self) -> None:
        """Drops what only training needs (a teacher)."""
