"""What a sample is compared with its signal by, in mode-seeking post-training (B18): no network, any number of axes.

FlowMo (Sargent et al. 2025, arXiv 2503.11056, section 3.3) takes a network's features of images. Here they are the
signal itself and the logarithms of its local energy: where a signal has texture a sample must have as much, and as a
sample's own noise is no part of the signal, the least distance is that of one likely signal, not of their mean.

Shape legend: B batch, C channels, *signal the signal's axes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_SCALES = 3
_BLOCK = 4
_ENERGY = 0.1  # weight of the energies against the absolute error
_FLOOR = 1e-3


def sample_distance(sample: Tensor, signal: Tensor) -> Tensor:
    """Mean absolute error of `[B, C, *signal]` plus 0.1 x that of the log energies, the mean over scales."""
    energies = zip(log_energies(sample), log_energies(signal), strict=True)
    apart = torch.stack([(a - b).abs().mean() for a, b in energies]).mean()
    return (sample - signal).abs().mean() + _ENERGY * apart


def log_energies(x: Tensor) -> list[Tensor]:
    """ln(0.001 + mean squared difference of neighbours) in blocks of 4 per axis, at up to three scales.

    Differences along all axes are summed. Each scale has half the size of the one before; an axis of length 1 stays.
    """
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[x.ndim - 3]
    maps = []
    for scale in range(_SCALES):
        if scale:
            if max(x.shape[2:]) < 2 * _BLOCK:
                break
            x = pool(x, [min(2, size) for size in x.shape[2:]])
        energy = torch.zeros_like(x)
        for axis in range(2, x.ndim):
            if x.shape[axis] > 1:
                energy = energy + (x - x.roll(1, axis)).square()
        block = [min(_BLOCK, size) for size in x.shape[2:]]
        maps.append((_FLOOR + pool(energy, block)).log())
    return maps
