"""Latents without an order: the one order that stands for all, so that what is computed from a set has the same bits.

Sums depend on the order of their terms in the last bits, and so would a decoder's output, however it is built.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .interface import Latents


def order_of(rows: Tensor) -> Tensor:
    """Where the positions of `[B, C, n]` come from in lexicographic order by channel (or head), `[B, n]`."""
    order = torch.arange(rows.shape[2], device=rows.device).expand(len(rows), -1)
    for channel in reversed(rows.unbind(1)):
        # adding zero makes -0 the 0 that it equals
        keys = (channel + 0).gather(1, order)
        order = order.gather(1, keys.argsort(dim=1, stable=True))
    return order


def arranged(rows: Tensor, order: Tensor) -> Tensor:
    """`[B, C, n]` with its positions in the given order `[B, n]`."""
    return rows.gather(2, order.unsqueeze(1).expand(-1, rows.shape[1], -1))


def sorted_set(latents: Latents) -> Latents:
    """The same set with its codes in ascending order, or where there are none its values; one order for all parts."""
    key = latents.codes if latents.codes is not None else latents.values
    if key is None:
        raise ValueError("latents without values and without codes")
    order = order_of(key)

    def part(rows: Tensor | None) -> Tensor | None:
        return None if rows is None else arranged(rows, order)

    return Latents(values=part(latents.values), codes=part(latents.codes), scale=part(latents.scale))


def sorted_values(values: Tensor) -> Tensor:
    """Values `[B, C, n]` of a set in lexicographic order."""
    return arranged(values, order_of(values))
