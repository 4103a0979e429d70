"""Image metrics on clips: frame by frame."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ...results.errors import UserError


def per_frame(metric: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Applies `metric` (`[B, C, H, W]` twice -> `[B]`) to every frame of clips `[B, C, T, H, W]`: `[B, T]`.

    Its mean over the first axis is the metric per position in the clip, over the second the metric per clip. Raises
    UserError when x and y are no clips of one shape.
    """
    if x.ndim != 5 or x.shape != y.shape:
        raise UserError(f"clips must be [B, C, T, H, W] of one shape, got {list(x.shape)} and {list(y.shape)}")
    batch, _, frames = x.shape[:3]
    x, y = (clip.transpose(1, 2).flatten(0, 1) for clip in (x, y))
    return metric(x, y).view(batch, frames)
