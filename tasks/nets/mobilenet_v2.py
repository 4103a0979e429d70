"""MobileNetV2's features of images: the cheap ImageNet net (0.3 GFLOP an image)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...tokenizers.mobilenet_v2 import normalisation, trunk
from ...tokenizers.spec import SignalSpec
from ...tokenizers.weights import Tensors, digest
from .config import MobileNetV2Config
from .frozen import FrozenNet, to_rgb, to_uint8_levels

_SIZE = 224


class MobileNetV2Net(FrozenNet):
    """1280-d features: torchvision's MobileNetV2 without its classifier, averaged over positions."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: MobileNetV2Config, signal: SignalSpec, tensors: Tensors) -> None:
        super().__init__(config, signal, note=f"; weights {digest(tensors, ignore=('classifier.',))}")
        self.trunk = trunk(tensors)
        mean, std = normalisation()
        self.register_buffer("mean", mean * 255, persistent=False)
        self.register_buffer("std", std * 255, persistent=False)

    def forward(self, signal: Tensor) -> Tensor:
        """`[B, 1 or 3, H, W]` in [-1, 1] to `[B, 1280]`."""
        x = to_uint8_levels(signal)
        if x.shape[2:] != (_SIZE, _SIZE):
            x = F.interpolate(x, (_SIZE, _SIZE), mode="bilinear", align_corners=False, antialias=True)
        x = ((to_rgb(x) - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        return self.trunk(x).mean((2, 3))
