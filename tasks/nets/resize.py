"""TensorFlow 1's bilinear resize, the one that FID's Inception was released with, as two banded matrix products."""

from __future__ import annotations

import torch
from torch import Tensor


def tf1_matrix(source: int, target: int) -> Tensor:
    """`[target, source]` float32: row i holds the two weights that output pixel i reads its axis with.

    TensorFlow 1 (align_corners=False) samples at i * source / target, with no half-pixel centre and no antialiasing;
    positions are computed in float32 there, so they are here.
    """
    position = torch.arange(target, dtype=torch.float32) * torch.tensor(source / target, dtype=torch.float32)
    low = position.long().clamp_max(source - 1)
    high = (low + 1).clamp_max(source - 1)
    share = position - low
    matrix = torch.zeros(target, source)
    rows = torch.arange(target)
    matrix[rows, low] += 1 - share
    matrix[rows, high] += share
    return matrix


def tf1_resize(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`[B, C, H, W]` to `[B, C, H', W']` by `rows` `[H', H]` and `columns` `[W', W]` (see `tf1_matrix`)."""
    if rows.shape[0] * x.shape[3] < columns.shape[0] * x.shape[2]:
        return (rows @ x) @ columns.T
    return rows @ (x @ columns.T)
