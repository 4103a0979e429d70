"""Clips of k steps and a frame more: the first frame has a latent of its own, and no latent sees a later frame.

All padding in time lies in the past and repeats the first frame, so a picture is a clip of one frame (the geometry of
MAGVIT-v2, Yu et al. 2024, arXiv 2310.05737, and of the video autoencoders after it). Shape legend: B batch, C channels,
T frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .carry import Carrier
from .patch import depth_to_space
from .shortcut import LinearShortcut


def after_itself(x: Tensor, frames: int) -> Tensor:
    """`[B, C, T, H, W]` with its first frame `frames` times before it."""
    return torch.cat([x[:, :, :1].expand(-1, -1, frames, -1, -1), x], dim=2) if frames else x


class CausalConv(nn.Conv3d, Carrier):
    """A convolution (odd sizes) whose output has 1 + k / stride frames for 1 + k; frame i sees none after i stride.

    Of a clip in pieces the first has 1 + k frames, the others multiples of the stride.
    """

    def __init__(self, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int]) -> None:
        _, height, width = kernel
        super().__init__(inputs, outputs, tuple(kernel), tuple(stride), (0, height // 2, width // 2))  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """`[B, inputs, T, H, W]` to `[B, outputs, *grid]`."""
        kernel, stride, past = self.kernel_size[0], self.stride[0], self.carried
        x = after_itself(x, kernel - 1) if past is None else torch.cat([past, x], dim=2)
        if self.carry is not None:
            self.carry.value = x[:, :, x.shape[2] - (kernel - stride) :].clone()
        return super().forward(x)


class FrameNorm(nn.GroupNorm):
    """Group norm of every frame by itself: over all frames it would tell of later ones."""

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T, H, W]` to the same shape."""
        frames = super().forward(x.transpose(1, 2).flatten(0, 1))
        return frames.unflatten(0, (len(x), -1)).transpose(1, 2)


class CausalDepthToSpace(nn.Module, Carrier):
    """`depth_to_space` without the frames before the first."""

    def __init__(self, factors: Sequence[int]) -> None:
        super().__init__()
        self.factors = tuple(factors)

    def forward(self, features: Tensor) -> Tensor:
        """`[B, prod(f) * C, 1 + k, *grid]` to `[B, C, 1 + k f, H, W]`."""
        before = 0 if self.carried else self.factors[0] - 1
        if self.carry is not None:
            self.carry.value = True
        return depth_to_space(features, self.factors)[:, :, before:]


class CausalShortcut(LinearShortcut, Carrier):
    """The linear shortcut, whose first patch is the first frame, repeated."""

    def patches(self, signal: Tensor) -> Tensor:
        return super().patches(after_itself(signal, self._before()))

    def decode(self, values: Tensor) -> Tensor:
        """`[B, latents, *grid]` to `[B, C, *signal]`, float32."""
        return super().decode(values)[:, :, self._before() :]

    def _before(self) -> int:
        """How many frames of the first patch lie before the clip: none of a piece that is not the first."""
        before = 0 if self.carried else self.factors[0] - 1
        if self.carry is not None:
            self.carry.value = True
        return before
