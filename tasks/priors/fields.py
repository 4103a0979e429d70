"""The function of (x_t, t) that a continuous prior trains and integrates, with labels and guidance taken care of.

Shape legend: B batch, E embedding width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..latents import LatentBatch
from .conditioning import guided

Field = Callable[[Tensor, Tensor], Tensor]  # noisy latents [B, ...] and times [B] to the shape of the latents


def values_of(batch: LatentBatch) -> Tensor:
    """The values `[B, C, *grid]` of a batch."""
    values = batch.latents.values
    if values is None:
        raise ValueError("a continuous prior needs values")
    return values


def field_of(net: Callable[..., Tensor], vectors: Tensor | None, *, guidance: float = 1.0) -> Field:
    """`net(x, t, vectors)`, or `net(x, t)` without vectors `[B, E]`.

    With `guidance` other than 1 both predictions are made in one batch: vectors are `[2B, E]`, the second half those of
    "no label".
    """
    if vectors is None:
        return lambda x, t: net(x, t)
    if guidance == 1.0:
        return lambda x, t: net(x, t, vectors)

    def field(x: Tensor, t: Tensor) -> Tensor:
        conditional, unconditional = net(torch.cat((x, x)), torch.cat((t, t)), vectors).chunk(2)
        return guided(conditional, unconditional, guidance)

    return field
