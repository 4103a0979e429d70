"""A wavelet loss for video: HaCohen et al. 2024 (LTX-Video, arXiv 2501.00103), section 3.1."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import Loss


def haar(clip: Tensor) -> Tensor:
    """One level of the orthonormal 3D Haar transform: `[B, C, T, H, W]` to `[B, 8 C, T/2, H/2, W/2]`.

    Each axis in turn becomes low (a + b) / sqrt 2 and high (a - b) / sqrt 2 of neighbours a, b; an odd axis first
    repeats its last element. The sub-bands are ordered LLL, LLH, ..., HHH (time, height, width), each of C channels.
    """
    bands = clip.unsqueeze(1)
    for axis in (3, 4, 5):
        if bands.shape[axis] % 2:
            bands = torch.cat([bands, bands.narrow(axis, bands.shape[axis] - 1, 1)], dim=axis)
        first, second = bands.unflatten(axis, (-1, 2)).unbind(axis + 1)
        bands = torch.stack([first + second, first - second], dim=2).flatten(1, 2) * math.sqrt(0.5)
    return bands.flatten(1, 2)


class DWT(Loss):
    """Mean |difference| over the eight Haar sub-bands of `[B, C, T, H, W]`.

    Unlike in an L1 of pixels, motion and fine detail weigh as much as smooth areas.
    """

    def __call__(self, reconstruction: Tensor, signal: Tensor) -> Tensor:
        return haar(reconstruction - signal).abs().flatten(1).mean(1)
