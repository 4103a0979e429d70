"""Clips as the pictures that video codecs take and give, whose sides must be even or multiples of more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..spec import SignalSpec
from .stream import UndecodableError, from_bytes, to_bytes


def padded(side: int, multiple: int) -> int:
    """The next multiple from `side` on."""
    return side + -side % multiple


def to_pictures(sample: Tensor, signal: SignalSpec, multiple: int = 2) -> Any:
    """`[C, T, H, W]` in [-1, 1] to a uint8 array `[T, H', W', 3]`, sides padded by their last row or column."""
    _, height, width = signal.shape
    pixels = to_bytes(sample).expand(3, *signal.shape)
    right, below = -width % multiple, -height % multiple
    if right or below:
        odd = pixels.movedim(1, 0).float()
        pixels = F.pad(odd, (0, right, 0, below), mode="replicate").to(torch.uint8).movedim(0, 1)
    return pixels.movedim(0, -1).contiguous().numpy()


def from_frames(frames: Sequence[Any], signal: SignalSpec, multiple: int = 2) -> Tensor:
    """Decoded frames to `[C, T, H, W]`, in exact colours. Raises UndecodableError unless they are exactly the clip's.

    Left alone, libswscale is fast: colours of halved chroma come out a level too dark, and chroma of the nearest place.
    """
    from av.video.reformatter import Interpolation, VideoReformatter

    exact = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
    how: dict[str, Any] = {"format": "rgb24", "interpolation": int(Interpolation.BICUBIC | exact), "threads": 1}
    converter = VideoReformatter()
    count, height, width = signal.shape
    sides = padded(height, multiple), padded(width, multiple)
    if len(frames) != count or any((f.height, f.width) != sides for f in frames):
        raise UndecodableError(f"{len(frames)} frames of {count}")
    clip = torch.stack(
        [torch.from_numpy(converter.reformat(frame, **how).to_ndarray()) for frame in frames]
    )  # [T, H, W, 3]
    pixels = from_bytes(clip[:, :height, :width].movedim(-1, 0))
    return pixels if signal.channels == 3 else pixels.mean(0, keepdim=True)
