"""Long clips and sounds through a tokenizer in pieces, without a seam and in bounded memory.

A causal tokenizer carries what its layers need from one piece to the next; of another whose latents see a known stretch
of the signal, pieces are coded with what lies around them, and that is cut off. Either way the pieces are, to the
rounding of float32 sums, what the whole would be. A signal whose end fills no latent position is filled up; to decode
it, say how long it was.

Shape legend: B batch, C channels, *signal and *grid the axes of a signal and a latent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from ..results.errors import UserError
from .backbones.carry import Carries
from .backbones.config import PieceGeometry
from .composed import ComposedTokenizer
from .config import TokenizerConfig
from .interface import Latents, Tokenizer
from .spec import Modality

Tensors = Mapping[str, Tensor]


def encode_pieces(tokenizer: Tokenizer, pieces: Iterable[Tensor], *, positions: int) -> Iterator[Latents]:
    """The latents of a signal that comes in `pieces` `[B, C, *signal]` of its time axis, of any lengths.

    Gives `positions` latent positions of time at once, at the end the rest. Memory holds one such piece and what the
    tokenizer reads around it, wherever the pieces come from. Where the signal's end fills no latent position, waveforms
    go on in silence, and all else holds its last moment. Raises UserError for a tokenizer that codes whole signals
    alone.
    """
    coder = _Coder(tokenizer, positions)
    first, step, axis = coder.geometry.first, coder.step, coder.axis
    sizes, context = (first + (positions - 1) * step, positions * step), coder.geometry.encoder * step
    filled = _filled(pieces, first, step, axis, silence=coder.is_wave)
    for window in _windows(({"signal": piece} for piece in filled), sizes, context, axis):
        full = (window.size - (step if window.start else first)) // step
        latents = _tensors(coder.encode(window.tensors["signal"]))
        yield _latents(_cut(latents, axis, window.before // step, 1 + full))


def decode_pieces(
    tokenizer: Tokenizer, pieces: Iterable[Latents], *, positions: int, length: int | None = None
) -> Iterator[Tensor]:
    """The signal `[B, C, *signal]`, piece after piece, of latents that come in pieces of any lengths.

    Each is of `positions` latent positions of time, the last of the rest. With `length` the signal ends after as many
    of its own positions of time, as that did which `encode_pieces` filled up. Memory and errors as there.
    """
    coder = _Coder(tokenizer, positions)
    context, axis, step = coder.decoder_context, coder.axis, coder.step
    left = length
    for window in _windows(map(_tensors, pieces), (positions, positions), context, axis):
        if left == 0:
            return
        decoded = coder.decode(_latents(window.tensors))
        if context:
            decoded = decoded.narrow(axis, window.before * step, window.size * step)
        if left is not None:
            decoded = decoded.narrow(axis, 0, min(left, decoded.shape[axis]))
            left -= decoded.shape[axis]
        yield decoded


def encode_long(tokenizer: Tokenizer, signal: Tensor, *, positions: int) -> Latents:
    """The latents of a whole signal `[B, C, *signal]`, on any device, coded in pieces (see `encode_pieces`)."""
    parts = [_tensors(latents) for latents in encode_pieces(tokenizer, [signal], positions=positions)]
    return _latents(_joined(parts, 2 + tokenizer.spec.signal.time_axis))


def decode_long(tokenizer: Tokenizer, latents: Latents, *, positions: int, length: int | None = None) -> Tensor:
    """The whole signal of `latents`, or `length` of its positions of time, decoded in pieces (see `decode_pieces`)."""
    parts = list(decode_pieces(tokenizer, [latents], positions=positions, length=length))
    return torch.cat(parts, dim=2 + tokenizer.spec.signal.time_axis)


class _Coder:
    """A tokenizer that codes one signal, or decodes the latents of one, piece after piece."""

    def __init__(self, tokenizer: Tokenizer, positions: int) -> None:
        if not isinstance(tokenizer, ComposedTokenizer):
            raise UserError(f"coding in pieces: {type(tokenizer).__name__} codes whole signals alone")
        if positions < 1:
            raise UserError(f"coding in pieces: positions must be at least 1, not {positions}")
        config = tokenizer.config
        try:
            self.geometry, self.decoder_context = _geometry(config)
        except ValueError as error:
            raise UserError(f"coding in pieces: {config.recipe} codes whole signals alone: {error}") from None
        axis = config.signal.time_axis
        self.axis, self.step = 2 + axis, config.downsample[axis]
        self.is_wave = config.signal.modality is Modality.WAVEFORM
        self._tokenizer = tokenizer
        self._carries = Carries([tokenizer])
        self._device = next((p.device for p in tokenizer.parameters()), torch.device("cpu"))

    @torch.no_grad()
    def encode(self, signal: Tensor) -> Latents:
        """The next piece's latents, and those of what lies around it."""
        if self.geometry.encoder:
            return self._tokenizer.encode(signal.to(self._device))
        with self._carries.carrying():
            return self._tokenizer.encode(signal.to(self._device))

    @torch.no_grad()
    def decode(self, latents: Latents) -> Tensor:
        """The next piece's signal, and that of what lies around it."""
        here = _latents({name: tensor.to(self._device) for name, tensor in _tensors(latents).items()})
        if self.decoder_context:
            return self._tokenizer.decode(here)
        with self._carries.carrying():
            return self._tokenizer.decode(here)


def _geometry(config: TokenizerConfig) -> tuple[PieceGeometry, int]:
    """The encoder's, and the context of the decoder. Raises ValueError with the reason where there is none."""
    axis = config.signal.time_axis
    if config.diffusion_decoder is not None:
        raise ValueError("a diffusion decoder makes all of a signal at once")
    if len(config.spec.grids) > 1:
        raise ValueError("a hierarchy has grids at several rates")
    if len(config.layout.shape) <= axis:
        raise ValueError("its latents lie on no axis of time")
    encoding, decoding = (
        half.piece_geometry(config.signal, config.downsample) for half in (config.backbone, config.decoding)
    )
    return encoding, decoding.decoder


class _Window(NamedTuple):
    """A piece of `size` positions that begins at `start`, with `before` positions ahead of it and some behind."""

    tensors: Tensors
    start: int
    before: int
    size: int


def _filled(pieces: Iterable[Tensor], first: int, step: int, axis: int, *, silence: bool) -> Iterator[Tensor]:
    """The pieces, and behind them what the last latent position lacks: silence, or the last moment held."""
    total = 0
    last: Tensor | None = None
    for piece in pieces:
        if size := piece.shape[axis]:
            total, last = total + size, piece.narrow(axis, size - 1, 1).clone()  # not a view: the piece may go
        yield piece
    missing = max(first - total, (first - total) % step)
    if last is not None and missing:
        held = torch.zeros_like(last) if silence else last
        yield held.repeat_interleave(missing, axis)


def _windows(pieces: Iterable[Tensors], sizes: tuple[int, int], context: int, axis: int) -> Iterator[_Window]:
    """Pieces of the first of `sizes`, then of the second, with up to `context` positions on either side."""
    held: dict[str, Tensor] = {}
    start = before = 0
    for piece in chain(pieces, [None]):
        if piece is not None:
            held = _joined([held, piece], axis) if held else dict(piece)
        if not held:
            continue
        while True:
            size, length = sizes[start > 0], next(iter(held.values())).shape[axis]
            if piece is None:
                size = min(size, length - before)
            if size == 0 or (piece is not None and length < before + size + context):
                break
            yield _Window(_cut(held, axis, 0, min(length, before + size + context)), start, before, size)
            drop = max(0, before + size - context)
            held, before, start = _cut(held, axis, drop, length - drop), before + size - drop, start + size


def _cut(tensors: Tensors, axis: int, start: int, size: int) -> dict[str, Tensor]:
    return {name: tensor.narrow(axis, start, size) for name, tensor in tensors.items()}


def _joined(parts: Sequence[Tensors], axis: int) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts], dim=axis) for name in parts[0]}


def _tensors(latents: Latents) -> dict[str, Tensor]:
    named = {"values": latents.values, "codes": latents.codes, "scale": latents.scale}
    return {name: tensor for name, tensor in named.items() if tensor is not None}


def _latents(tensors: Tensors) -> Latents:
    return Latents(values=tensors.get("values"), codes=tensors.get("codes"), scale=tensors.get("scale"))
