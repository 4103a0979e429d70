"""The function of (x_t, t) that a continuous prior trains and integrates, with labels and guidance taken care of.

Shape legend: B batch, E embedding width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..latents import LatentBatch
from .conditioning import Labels, guided
from .config import ClassConditional

Field = Callable[[Tensor, Tensor], Tensor]  # noisy latents [B, ...] and times [B] to the shape of the latents


def labels_for(config: ClassConditional, width: int) -> Labels | None:
    """The label embedding that the options ask for, None without labels."""
    return Labels(config.classes, width, dropout=config.label_dropout) if config.classes else None


def field_of(
    net: Callable[..., Tensor],
    labels: Labels | None,
    source: LatentBatch | range,
    *,
    seed: int = 0,
    guidance: float = 1.0,
) -> Field:
    """`net(x, t, condition)` for the labels of a batch, or for those drawn for the samples `source`.

    With `guidance` other than 1 both predictions are made in one batch, with and without labels.
    """
    if labels is None:
        return lambda x, t: net(x, t)
    drawn = labels.draw(source, seed=seed) if isinstance(source, range) else labels.of(source)
    vectors = labels(drawn)
    if guidance == 1.0:
        return lambda x, t: net(x, t, vectors)
    both = torch.cat((vectors, labels(labels.none(len(drawn)))))

    def field(x: Tensor, t: Tensor) -> Tensor:
        conditional, unconditional = net(torch.cat((x, x)), torch.cat((t, t)), both).chunk(2)
        return guided(conditional, unconditional, guidance)

    return field
