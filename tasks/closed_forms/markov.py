"""Codes by counting: alone, or given their neighbours. Shape legend: N samples, H heads, K a codebook's size."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .interface import ClosedForm

ORDER = 3


class BackOff:
    """How codes follow contexts of 0 to `order` codes, counted; a context of k codes backs off to its first k - 1.

    Witten and Bell's estimate (1991, IEEE Transactions on Information Theory 37, method C, interpolated):
    p_k(c) = (n(context, c) + t p_{k-1}(c)) / (n(context) + t), with n the counts and t the different codes that follow
    the context; p_{-1} = 1/K. Contexts are numbers, sorted: no table grows with the codebook.
    """

    def __init__(self, codes: Tensor, contexts: Tensor, size: int) -> None:
        """Of `codes` `[n]` in 0..size - 1 after `contexts` `[n, order]` in 0..size (size: beyond the border), the most
        telling first. As many are read as numbers of 62 bits hold."""
        self.size = size
        self.order = min(contexts.shape[1], int(62 / math.log2(size + 1)) - 1)
        self.joint, self.keys, self.codes, self.different = [], [], [], []
        for k in range(self.order + 1):
            key = self._key(contexts, k)
            joint = (key * size + codes).sort().values
            self.joint.append(joint)
            self.keys.append(torch.div(joint, size, rounding_mode="floor"))
            self.codes.append(joint % size)
            self.different.append(torch.div(joint.unique_consecutive(), size, rounding_mode="floor"))

    def log2(self, codes: Tensor, contexts: Tensor, order: int = ORDER) -> Tensor:
        """log2 p of `codes` `[m]` after the first `order` of `contexts` `[m, order or more]`: `[m]` float64."""
        p = torch.full(codes.shape, 1 / self.size, dtype=torch.float64)
        for k in range(min(order, self.order) + 1):
            key = self._key(contexts, k)
            times, different = _count(self.keys[k], key), _count(self.different[k], key)
            follows = _count(self.joint[k], key * self.size + codes)
            p = torch.where(times > 0, (follows + different * p) / (times + different).clamp_min(1), p)
        return p.log2()

    def draw(self, contexts: Tensor, generator: torch.Generator) -> Tensor:
        """A code for each of `contexts` `[m, order]`: one that followed it, or by t/(n + t) a shorter one's."""
        drawn = torch.randint(self.size, contexts.shape[:1], generator=generator)
        for k in range(self.order + 1):
            key = self._key(contexts, k)
            low = torch.searchsorted(self.keys[k], key)
            times, different = _count(self.keys[k], key), _count(self.different[k], key)
            uniform = torch.rand(len(key), generator=generator, dtype=torch.float64)
            pick = (low + (uniform * (times + different)).long()).clamp_max(len(self.codes[k]) - 1)
            drawn = torch.where(uniform * (times + different) < times, self.codes[k][pick], drawn)
        return drawn

    def _key(self, contexts: Tensor, k: int) -> Tensor:
        key = torch.zeros(len(contexts), dtype=torch.int64)
        for place in range(k):
            key = key * (self.size + 1) + contexts[:, place]
        return key


def _count(ordered: Tensor, values: Tensor) -> Tensor:
    return torch.searchsorted(ordered, values, right=True) - torch.searchsorted(ordered, values)


def contexts(codes: Tensor, head: int, sizes: tuple[int, ...], order: int = ORDER) -> Tensor:
    """What stands before each code of a head, the most telling first: `[N, H, *grid]` to `[N, *grid, order or less]`.

    The head before it at its position, then the same head one step back along every axis, from the last axis on.
    Beyond the border stands the codebook's size. All are read as codes of this head: another's are cut to its size.
    """
    own, size = codes[:, head], sizes[head]
    columns = [codes[:, head - 1].clamp_max(size)] if head else []
    for axis in range(own.ndim - 1, 0, -1):
        if own.shape[axis] > 1:
            border = torch.full_like(own.narrow(axis, 0, 1), size)
            columns.append(torch.cat([border, own.narrow(axis, 0, own.shape[axis] - 1)], dim=axis))
    columns = columns[:order]
    return torch.stack(columns, -1) if columns else own.new_zeros(*own.shape, 0)


def fitted(codes: Tensor, sizes: tuple[int, ...], order: int = ORDER) -> list[BackOff]:
    """A model per head of codes `[N, H, *grid]`."""
    models = []
    for head, size in enumerate(sizes):
        before = contexts(codes, head, sizes, order)
        models.append(BackOff(codes[:, head].flatten(), before.flatten(0, -2), size))
    return models


class Markov(ClosedForm):
    """See `MarkovConfig`: position by position in raster order, and head by head, from `BackOff`."""

    order = ORDER

    def fit(self, data: Tensor) -> None:
        self.sizes = self.spec.grid.codebook_sizes
        self.models = fitted(data, self.sizes, self.order)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        grid = self.spec.grid.shape
        codes = torch.zeros(n, len(self.sizes), *grid, dtype=torch.int64)
        for place in torch.cartesian_prod(*[torch.arange(length) for length in grid]).view(-1, len(grid)).tolist():
            for head, (model, size) in enumerate(zip(self.models, self.sizes, strict=True)):
                columns = [codes[(slice(None), head - 1, *place)].clamp_max(size)] if head else []
                for axis in range(len(grid) - 1, -1, -1):
                    if grid[axis] > 1:
                        back = [*place]
                        back[axis] -= 1
                        border = torch.full((n,), size)
                        columns.append(codes[(slice(None), head, *back)] if back[axis] >= 0 else border)
                columns = columns[: self.order]
                before = torch.stack(columns, -1) if columns else torch.zeros(n, 0, dtype=torch.int64)
                codes[(slice(None), head, *place)] = model.draw(before, generator)
        return codes


class OrderZero(ClosedForm):
    """See `OrderZeroConfig`: every code drawn from all those of its head."""

    def fit(self, data: Tensor) -> None:
        self.data = data

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        heads = []
        for head in range(self.data.shape[1]):
            flat = self.data[:, head].flatten()
            heads.append(flat[torch.randint(len(flat), (n, *self.spec.grid.shape), generator=generator)])
        return torch.stack(heads, 1)
