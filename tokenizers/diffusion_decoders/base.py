"""What a generative decoder is to the tokenizer that holds it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class GenerativeDecoder(nn.Module):
    """Turns a condition `[B, C, *signal]`, the feed-forward decoder's output, into the signal. Runs in float32."""

    def losses(self, signal: Tensor, condition: Tensor, *, step: int, steps: int) -> Mapping[str, Tensor]:
        """Scalars that join the tokenizer's loss; `condition` carries the gradient to the rest of it."""
        raise NotImplementedError

    def sample(self, condition: Tensor, *, steps: int | None = None) -> Tensor:
        """`[B, C, *signal]`, deterministic and sample by sample independent of the batch; `steps` as configured."""
        raise NotImplementedError

    def operating_points(self) -> tuple[int, ...]:
        """Numbers of sampling steps at which its quality and latency are reported."""
        return ()

    @torch.no_grad()
    def after_step(self, *, step: int, steps: int) -> None:
        """Upkeep after the optimiser's step."""

    def drop_training_modules(self) -> None:
        """Drops what only training needs (a teacher)."""
