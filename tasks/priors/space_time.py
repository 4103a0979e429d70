"""Attention over clips in two factors: within a frame, and along time at one place of the frame.

A transformer's blocks take turns (TimeSformer's divided attention, Bertasius et al. 2021, section 3; the interleaved
blocks of Latte, Ma et al. 2024, section 3.2). Of T frames of S positions each position then reads S + T others in place
of T S.

Where what is predicted must not be seen (causal, in raster order, frame after frame), reading one's own frame alone
would hide from a position all that lies behind its place in earlier frames: what reaches a place of a frame comes from
places before it, in this frame or an earlier one. So "within a frame" is there the S positions up to and including
one's own, which begin in the frame before: with time the strided pattern of Sparse Transformers (Child et al. 2019,
section 4.3), stride S. Any earlier position is then at most two blocks away.

Shape legend: B batch, h attention heads, d channels of a head, T frames, S positions of a frame, N = T S positions (of
causal ones the last frame may be incomplete), n queries: N, or with a cache the last one alone.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from ...tokenizers.backbones.attention import Attention


class ClipAttention(Attention):
    """Attention that tells frames of `frame` positions apart."""

    def __init__(self, width: int, heads: int, *, frame: int, causal: bool = False, dropout: float = 0.0) -> None:
        super().__init__(width, heads, causal=causal, dropout=dropout)
        self.frame = frame

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """What the queries `[B, h, n, d]` read of keys and values `[B, h, N, d]`: shaped like the queries.

        Raises ValueError for an incomplete frame where all positions are seen.
        """
        count = query.shape[2]
        if count < key.shape[2]:
            return self.product(query, self.of_last(key), self.of_last(value))
        missing = -count % self.frame
        if missing and not self.causal:
            raise ValueError(f"{count} positions are no whole frames of {self.frame}")
        # what is added comes after all that is causal, and sees without being seen
        parts = (F.pad(part, (0, 0, 0, missing)) if missing else part for part in (query, key, value))
        out = self.whole(*(part.unflatten(2, (-1, self.frame)) for part in parts))
        return out.flatten(2, 3)[:, :, :count]

    @abstractmethod
    def whole(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """What all positions read, `[B, h, T, S, d]` to the same."""
        raise NotImplementedError

    @abstractmethod
    def of_last(self, keys: Tensor) -> Tensor:
        """Of the keys `[B, h, N, d]` those that the last position reads (causal)."""
        raise NotImplementedError


class FrameAttention(ClipAttention):
    """Within a frame; causal over the S positions up to one's own."""

    window: Tensor

    def __init__(self, width: int, heads: int, *, frame: int, causal: bool = False, dropout: float = 0.0) -> None:
        super().__init__(width, heads, frame=frame, causal=causal, dropout=dropout)
        place = torch.arange(2 * frame)  # of the frame before, and one's own
        own = place[frame:, None]
        self.register_buffer("window", (place > own - frame) & (place <= own), persistent=False)

    def whole(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """`[B, h, T, S, d]` to the same."""
        if not self.causal:
            return _grouped(self.product(*(_by_frame(part) for part in (query, key, value))), len(query))
        first = self.product(query[:, :, 0], key[:, :, 0], value[:, :, 0], causal=True)[:, :, None]
        if query.shape[2] == 1:
            return first
        pairs = (torch.cat((part[:, :, :-1], part[:, :, 1:]), dim=3) for part in (key, value))
        others = self.product(_by_frame(query[:, :, 1:]), *(_by_frame(part) for part in pairs), mask=self.window)
        return torch.cat((first, _grouped(others, len(query))), dim=2)

    def of_last(self, keys: Tensor) -> Tensor:
        """The last S of `[B, h, N, d]`."""
        return keys[:, :, -self.frame :]


class TimeAttention(ClipAttention):
    """Along time at one place of the frame; causal over one's own frame and those before."""

    def whole(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """`[B, h, T, S, d]` to the same."""
        parts = (_by_frame(part.transpose(2, 3)) for part in (query, key, value))
        return _grouped(self.product(*parts, causal=self.causal), len(query)).transpose(2, 3)

    def of_last(self, keys: Tensor) -> Tensor:
        """Those of `[B, h, N, d]` at the last one's place."""
        return keys[:, :, (keys.shape[2] - 1) % self.frame :: self.frame]


def _by_frame(x: Tensor) -> Tensor:
    """`[B, h, T, S, d]` as a batch of frames, `[B T, h, S, d]`."""
    return x.transpose(1, 2).flatten(0, 1)


def _grouped(x: Tensor, batch: int) -> Tensor:
    """The inverse of `_by_frame`."""
    return x.unflatten(0, (batch, -1)).transpose(1, 2)
