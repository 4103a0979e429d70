"""TensorFlow's mel filter bank, which YAMNet was trained with: triangles drawn on the mel axis, not in hertz."""

from __future__ import annotations

import torch
from torch import Tensor


def mel_matrix(bins: int, spectrum: int, rate: int, low: float, high: float) -> Tensor:
    """`[spectrum, bins]`: TensorFlow's `linear_to_mel_weight_matrix` (HTK mels, linear in mel, no DC)."""

    def mel(hertz: Tensor) -> Tensor:
        return 1127.0 * torch.log1p(hertz / 700.0)

    frequencies = mel(torch.linspace(0, rate / 2, spectrum, dtype=torch.float64))[:, None]
    ends = mel(torch.tensor([low, high], dtype=torch.float64))
    edges = torch.linspace(float(ends[0]), float(ends[1]), bins + 2, dtype=torch.float64)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rise = (frequencies - left) / (centre - left)
    fall = (right - frequencies) / (right - centre)
    matrix = torch.minimum(rise, fall).clamp_min(0)
    matrix[0] = 0
    return matrix.float()
