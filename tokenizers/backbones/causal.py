"""Clips of k steps and a frame more: the first frame has a latent of its own, and no latent sees a later frame.

All padding in time lies in the past and repeats the first frame, so a picture is a clip of one frame (the geometry of
MAGVIT-v2, Yu et al. 2024, arXiv 2310.05737, and of the video autoencoders after it). Shape legend: B batch, C channels,
T frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .patch import depth_to_space
from .shortcut import LinearShortcut


def after_itself(x: Tensor, frames: int) -> Tensor:
    """`[B, C, T, H, W]` with its first frame `frames` times before it."""
    return torch.cat([x[:, :, :1].expand(-1, -1, frames, -1, -1), x], dim=2) if frames else x


class CausalConv(nn.Conv3d):
    """A convolution (odd sizes) whose output has 1 + k / stride frames for 1 + k; frame i sees none after i stride."""

    def __init__(self, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int]) -> None:
        _, height, width = kernel
        super().__init__(inputs, outputs, tuple(kernel), tuple(stride), (0, height // 2, width // 2))  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """`[B, inputs, T, H, W]` to `[B, outputs, *grid]`."""
        return super().forward(after_itself(x, self.kernel_size[0] - 1))


class FrameNorm(nn.GroupNorm):
    """Group norm of every frame by itself: over all frames it would tell of later ones."""

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T, H, W]` to the same shape."""
        frames = super().forward(x.transpose(1, 2).flatten(0, 1))
        return frames.unflatten(0, (len(x), -1)).transpose(1, 2)


class CausalDepthToSpace(nn.Module):
    """`depth_to_space` without the frames before the first."""

    def __init__(self, factors: Sequence[int]) -> None:
        super().__init__()
        self.factors = tuple(factors)

    def forward(self, features: Tensor) -> Tensor:
        """`[B, prod(f) * C, 1 + k, *grid]` to `[B, C, 1 + k f, H, W]`."""
        return depth_to_space(features, self.factors)[:, :, self.factors[0] - 1 :]


class CausalShortcut(LinearShortcut):
    """The linear shortcut, whose first patch is the first frame, repeated."""

    def patches(self, signal: Tensor) -> Tensor:
        return super().patches(after_itself(signal, self.factors[0] - 1))

    def decode(self, values: Tensor) -> Tensor:
        """`[B, latents, *grid]` to `[B, C, *signal]`, float32."""
        return super().decode(values)[:, :, self.factors[0] - 1 :]
