"""Masking of patches: He et al. 2022 (arXiv 2111.06377), section 3, on signals of any number of axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..spec import SignalSpec
from .mask_config import MaskConfig


class Mask:
    """Sets round(ratio x patches) patches of every sample to 0, the middle of the signal's range.

    The patches lie on a grid from the first element on; those at the far edges may be cut. Every set of so many patches
    is equally likely. At least one patch is hidden and one left, where there are two.
    """

    def __init__(self, patch: Sequence[int], *, ratio: float) -> None:
        self.patch = tuple(patch)
        self.ratio = ratio

    def __call__(self, signal: Tensor) -> Tensor:
        """`[B, C, *signal]` with patches of zeros."""
        return signal * self.draw(signal)

    def draw(self, signal: Tensor) -> Tensor:
        """A mask for `[B, C, *signal]`: `[B, 1, *signal]`, 0 where a patch is hidden and 1 elsewhere."""
        grid = [math.ceil(size / patch) for size, patch in zip(signal.shape[2:], self.patch, strict=True)]
        patches = math.prod(grid)
        hidden = max(min(1, patches - 1), min(round(self.ratio * patches), patches - 1))
        order = torch.rand(len(signal), patches, device=signal.device).argsort(1)
        mask = (order >= hidden).to(signal.dtype).view(len(signal), 1, *grid)
        for axis, (size, patch) in enumerate(zip(signal.shape[2:], self.patch, strict=True), start=2):
            mask = mask.repeat_interleave(patch, dim=axis, output_size=mask.shape[axis] * patch).narrow(axis, 0, size)
        return mask


class MaskCorruption(Mask):
    """`Mask` as a corruption: by default a patch is what one latent position covers."""

    def __init__(self, config: MaskConfig, signal: SignalSpec, downsample: tuple[int, ...]) -> None:
        super().__init__(config.patch or downsample, ratio=config.ratio)
