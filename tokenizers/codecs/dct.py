"""Blockwise DCT with uniform quantisation, of signals of rank 1 to 3, the core of JPEG (codecs, A19).

Shape legend: B batch, C channels, K coefficients coded per block and channel, *blocks blocks per axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..interface import Latents
from ..spec import SignalSpec
from .base import Codec
from .dct_config import DCTConfig, dct_rows


@dataclass(frozen=True, kw_only=True)
class _Tables:
    """What blocks are computed with: a basis per axis, and of each coefficient its place, step and reach."""

    bases: tuple[Tensor, ...]
    index: Tensor
    step: Tensor
    reach: Tensor

    def to(self, device: torch.device) -> _Tables:
        moved = {name: getattr(self, name).to(device) for name in ("index", "step", "reach")}
        return _Tables(bases=tuple(basis.to(device) for basis in self.bases), **moved)


class DCT(Codec):
    """Codes `[B, C K, *blocks]`: round(coefficient / step) + reach; values of the same shape: the rounded coefficients.

    The transform is the orthonormal DCT-II along every axis of a block (Ahmed, Natarajan & Rao 1974). A signal that
    the block does not divide is continued by its last samples, and cropped after decoding.
    """

    def __init__(self, config: DCTConfig, signal: SignalSpec) -> None:
        super().__init__(config, signal)
        coefficients = config.coefficients(signal)
        self.block, self.blocks = config.downsample(signal), config.blocks(signal)
        strides = [1]
        for size in reversed(self.block[1:]):
            strides.insert(0, strides[0] * size)
        places = [sum(f * s for f, s in zip(c.frequency, strides, strict=True)) for c in coefficients]
        tables = _Tables(
            bases=tuple(torch.tensor(list(dct_rows(size)), dtype=torch.float64).float() for size in self.block),
            index=torch.tensor(places),
            step=torch.tensor([c.step for c in coefficients]),
            reach=torch.tensor([c.reach for c in coefficients]),
        )
        self._tables = {tables.step.device: tables}

    def _on(self, device: torch.device) -> _Tables:
        """The tables on a device, copied there once."""
        if device not in self._tables:
            self._tables[device] = next(iter(self._tables.values())).to(device)
        return self._tables[device]

    def encode(self, signal: Tensor) -> Latents:
        tables = self._on(signal.device)
        coefficients = self.transform(signal.float().clamp(-1.0, 1.0))[:, :, tables.index]
        step, reach = self._shaped(tables.step), self._shaped(tables.reach)
        levels = torch.minimum(torch.maximum(torch.round(coefficients / step).long(), -reach), reach)
        return Latents(values=(levels * step).flatten(1, 2), codes=(levels + reach).flatten(1, 2))

    def decode(self, latents: Latents) -> Tensor:
        values = latents.values if latents.values is not None else self._values(latents.codes)
        values = values.float().unflatten(1, (self.signal.channels, -1))
        full = values.new_zeros(*values.shape[:2], math.prod(self.block), *self.blocks)
        full[:, :, self._on(values.device).index] = values
        return self.inverse(full)

    def transform(self, signal: Tensor) -> Tensor:
        """All coefficients of all blocks: `[B, C, *signal]` to `[B, C, prod(block), *blocks]`, raster order."""
        rank = len(self.block)
        gaps = [n * b - s for n, b, s in zip(self.blocks, self.block, signal.shape[2:], strict=True)]
        if any(gaps):
            flat = [side for gap in reversed(gaps) for side in (0, gap)]
            signal = F.pad(signal, flat, mode="replicate")
        shape = [side for pair in zip(self.blocks, self.block, strict=True) for side in pair]
        x = signal.reshape(*signal.shape[:2], *shape)
        for axis, basis in enumerate(self._on(x.device).bases):
            place = 3 + 2 * axis
            x = (x.movedim(place, -1) @ basis.T).movedim(-1, place)
        order = [0, 1, *range(3, 3 + 2 * rank, 2), *range(2, 2 + 2 * rank, 2)]
        return x.permute(order).flatten(2, 1 + rank)

    def inverse(self, coefficients: Tensor) -> Tensor:
        """The inverse of `transform`, cropped to the signal."""
        rank = len(self.block)
        x = coefficients.unflatten(2, self.block)
        for axis, basis in enumerate(self._on(x.device).bases):
            x = (x.movedim(2 + axis, -1) @ basis).movedim(-1, 2 + axis)
        order = [0, 1, *(place for axis in range(rank) for place in (2 + rank + axis, 2 + axis))]
        shape = [n * b for n, b in zip(self.blocks, self.block, strict=True)]
        x = x.permute(order).reshape(*x.shape[:2], *shape)
        return x[(..., *(slice(size) for size in self.signal.shape))]

    def _values(self, codes: Tensor | None) -> Tensor:
        if codes is None:
            raise ValueError("latents without values and without codes")
        levels = codes.unflatten(1, (self.signal.channels, -1))
        tables = self._on(levels.device)
        return ((levels - self._shaped(tables.reach)) * self._shaped(tables.step)).flatten(1, 2)

    def _shaped(self, rows: Tensor) -> Tensor:
        """Per-coefficient numbers `[K]` along the coefficients of `[B, C, K, *blocks]`."""
        return rows.view(-1, *(1,) * len(self.block))
