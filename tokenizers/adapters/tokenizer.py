"""An adapter as a tokenizer: ranges, types, padding and normalisers, so that every task sees what it always sees.

Shape legend: B batch, C channels of the signal, D channels of the latents, H heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...results.errors import UserError
from ..interface import Latents, TrainableTokenizer
from ..spec import LatentGrid, LatentSpec, SignalSpec
from .base import Adapter
from .config import AdapterConfig
from .declaration import Declaration, declared

_TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class AdapterTokenizer(TrainableTokenizer):
    """Built from a located `AdapterConfig`. There is nothing to train, and no mode but eval.

    Continuous `values` are normalised as declared, codes count from 0. Where there are codes, they are what is decoded:
    what is decoded is what was counted.
    """

    def __init__(
        self, config: AdapterConfig, signal: SignalSpec | None, grids: Sequence[LatentGrid] = (), *, dtype: str = ""
    ) -> None:
        super().__init__()
        self.config, self.signal = config, signal
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # weights that no file gives are the same in every job
            self.adapter: Adapter = config.build()
        table = config.spec if isinstance(config.spec, dict) else {}
        self.adapter.declaration = declared(self.adapter.declaration, table)
        self._spec = LatentSpec(signal=signal, grids=tuple(grids)) if grids and signal is not None else None
        self.held = nn.ModuleList(self.adapter.modules())
        chosen = dtype or config.dtype
        self.dtype = _TYPES[self.declaration.dtype if chosen == "native" else chosen]
        self.held.to(self.dtype)
        self.held.requires_grad_(False)
        self.eval()

    @property
    def declaration(self) -> Declaration:
        """What is declared of it, the user's `spec` included."""
        return self.adapter.declaration

    @property
    def spec(self) -> LatentSpec:
        if self._spec is None:
            raise ValueError("the latents' grids are not known yet")
        return self._spec

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode: in training mode some models ignore their settings or draw noise."""
        return super().train(False)

    def encode(self, signal: Tensor) -> Latents:
        """`[B, C, *signal]` in [-1, 1] to normalised latents in float32."""
        assert self.signal is not None
        low, high = self.declaration.range
        x = (signal.float() + 1) * ((high - low) / 2) + low
        gaps = [wanted - size for wanted, size in zip(self.declaration.padded(self.signal), x.shape[2:], strict=True)]
        if any(gaps):
            silence = (low + high) / 2  # what 0 becomes
            x = F.pad(x, [side for gap in reversed(gaps) for side in (0, gap)], value=silence)
        return self._finished(self.adapter.encode(x.to(self.dtype)))

    def decode(self, latents: Latents) -> Tensor:
        """Normalised latents, or codes, to `[B, C, *signal]` on the scale [-1, 1], not clamped.

        Raises UserError where the decoder gives another size.
        """
        assert self.signal is not None
        decoded = self.adapter.decode(self._raw(latents)).float()
        shape = decoded.shape[2:]
        if self.declaration.pad:
            decoded = self._with_its_end(decoded)
            shape = decoded.shape[2:]
        if self.declaration.pad and all(a >= b for a, b in zip(shape, self.signal.shape, strict=True)):
            for axis, size in enumerate(self.signal.shape):
                decoded = decoded.narrow(2 + axis, 0, size)
        if tuple(decoded.shape[1:]) != (self.signal.channels, *self.signal.shape):
            expected = (self.signal.channels, *self.signal.shape)
            raise UserError(f"{self.adapter.class_name} decodes to {tuple(decoded.shape[1:])}, expected {expected}")
        low, high = self.declaration.range
        return (decoded - low) * (2 / (high - low)) - 1

    def _with_its_end(self, decoded: Tensor) -> Tensor:
        """A decoder of odd strides gives less than a position too few samples: silence takes their place."""
        assert self.signal is not None
        gaps = [max(0, size - have) for size, have in zip(self.signal.shape, decoded.shape[2:], strict=True)]
        multiples = self.declaration.multiples(self.signal.modality)
        if not any(gaps) or any(gap >= multiple for gap, multiple in zip(gaps, multiples, strict=True)):
            return decoded
        silence = sum(self.declaration.range) / 2
        return F.pad(decoded, [side for gap in reversed(gaps) for side in (0, gap)], value=silence)

    def losses(self, batch: Any, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
        """It has none."""
        raise RuntimeError("a tokenizer of somebody else's is not trained")

    @property
    def normalises(self) -> bool:
        """Whether latents come as the published prior saw them."""
        declared = self.declaration
        return (
            self.config.normaliser == "published" and bool(declared.normaliser.origin) and not declared.codebook_sizes
        )

    def _finished(self, raw: Latents) -> Latents:
        levels = tuple(map(self._level, raw.levels))
        return replace(levels[0], rest=levels[1:])

    def _level(self, raw: Latents) -> Latents:
        if raw.codes is not None:
            codes, values = raw.codes.long() - self.declaration.first_code, raw.values
            return Latents(codes=codes, values=None if values is None else values.float(), lengths=raw.lengths)
        if raw.values is None:
            raise UserError(f"{self.adapter.class_name}: encode gave neither values nor codes")
        values, scale = raw.values.float(), None if raw.scale is None else raw.scale.float()
        if self.normalises:
            mean, std = self._moments(values)
            values, scale = (values - mean) / std, None if scale is None else scale / std
        return Latents(values=values, scale=None if self.config.posterior == "mode" else scale, lengths=raw.lengths)

    def _raw(self, latents: Latents) -> Latents:
        levels = []
        for level in latents.levels:
            if level.codes is not None:
                codes = level.codes + self.declaration.first_code
                levels.append(Latents(codes=codes, lengths=level.lengths))
                continue
            values = level.values
            if values is None:
                raise ValueError("latents without values and without codes")
            if self.normalises:
                mean, std = self._moments(values)
                values = values * std + mean
            levels.append(Latents(values=values.to(self.dtype), lengths=level.lengths))
        return replace(levels[0], rest=tuple(levels[1:]))

    def _moments(self, like: Tensor) -> tuple[Tensor, Tensor]:
        normaliser = self.declaration.normaliser
        shape = (1, -1, *([1] * (like.ndim - 2)))
        mean, std = (like.new_tensor(row).view(shape) for row in (normaliser.mean, normaliser.std))
        for row in (mean, std):
            if row.shape[1] not in (1, like.shape[1]):
                raise UserError(f"the normaliser has {row.shape[1]} channels, and the latents {like.shape[1]}")
        return mean, std


def grids_of(latents: Latents, declaration: Declaration) -> tuple[LatentGrid, ...]:
    """The grids that these latents (of any batch) show. Raises UserError for codes without a codebook's size."""
    grids = []
    codebooks = (*declaration.coarser, declaration.codebook_sizes)
    if len(latents.levels) not in (1, len(codebooks)):
        # A hierarchy whose grids all have the same codebooks.
        codebooks = (declaration.codebook_sizes,) * len(latents.levels)
    for level, of_level in zip(latents.levels, codebooks[-len(latents.levels) :], strict=True):
        tensor = level.codes if level.codes is not None else level.values
        assert tensor is not None
        rows, shape = tensor.shape[1], tuple(tensor.shape[2:])
        channels = rows if level.values is None else level.values.shape[1]
        sizes: tuple[int, ...] = ()
        if level.codes is not None:
            sizes = of_level
            if not sizes:
                raise UserError("spec.codebook_sizes: missing; encode gives codes: how many are there?")
            sizes = sizes * rows if len(sizes) == 1 else sizes
            if len(sizes) != rows:
                raise UserError(f"spec.codebook_sizes: has {len(sizes)} entries, and encode gives {rows} per position")
        topology = declaration.topology if len(shape) == 1 else "grid"
        grids.append(LatentGrid(shape=shape, channels=channels, codebook_sizes=sizes, topology=topology))
    return tuple(grids)
