"""EnCodec's 48 kHz model codes each second by itself, normalised by a loudness that its decoder needs.

So a sound has two grids: a loudness per chunk, of one code of 256 (a step is 0.39 dB, from 1e-4 to 10), and the codes
of all chunks, one after the other.

Shape legend: B batch, C channels, Q codes per position, T positions, N chunks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..interface import Latents

LOUDNESS_CODES = 256
_DECADES, _LOWEST = 5, 4  # from 1e-4 to 10


@dataclass(frozen=True, kw_only=True)
class Chunks:
    """Chunks of `length` samples, one every `stride`, of a model with `hop` samples per position."""

    length: int
    stride: int
    hop: int

    def encode(
        self,
        signal: Tensor,
        encode: Callable[[Tensor], tuple[Tensor, Tensor | None]],
        values: Callable[[Tensor], Tensor],
    ) -> Latents:
        """The two grids of `[B, C, samples]`; `encode` gives the codes `[B, Q, T]` of one chunk and its loudness
        `[B, 1]`, `values` what codes stand for."""
        pieces = [signal[..., at : at + self.length] for at in range(0, signal.shape[-1], self.stride)]
        coded = [encode(piece) for piece in pieces]
        codes = torch.cat([part for part, _ in coded], dim=-1)
        scales = [signal.new_ones(len(signal), 1) if scale is None else scale for _, scale in coded]
        steps = (torch.log10(torch.cat(scales, dim=1).float()) + _LOWEST) * ((LOUDNESS_CODES - 1) / _DECADES)
        loudness = steps.round().clamp(0, LOUDNESS_CODES - 1).long().unsqueeze(1)
        return Latents(codes=loudness, rest=(Latents(codes=codes, values=values(codes)),))

    def decode(self, latents: Latents, decode: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
        """The chunks `[B, C, samples]`, which overlap; `decode` takes codes and loudness as `encode` gives them."""
        loudness, (codes,) = latents.codes, (level.codes for level in latents.rest)
        assert loudness is not None
        assert codes is not None
        scales = 10 ** (loudness[:, 0].float() * (_DECADES / (LOUDNESS_CODES - 1)) - _LOWEST)
        parts = codes.split(self.positions(codes.shape[-1], loudness.shape[-1]), dim=-1)
        return [decode(part, scale) for part, scale in zip(parts, scales.split(1, dim=1), strict=True)]

    def positions(self, total: int, chunks: int) -> list[int]:
        """Positions of each of `chunks` chunks that have `total` together.

        All are full but the last; the one before it falls short too where the sound ends within their overlap.
        """
        full = -(-self.length // self.hop)
        if chunks == 1:
            return [total]
        last = max(1, total - full * (chunks - 1))
        return [full] * (chunks - 2) + [total - full * (chunks - 2) - last, last]
