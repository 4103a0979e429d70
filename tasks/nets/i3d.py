"""I3D's logits of video clips: the features that FVD is computed on (Unterthiner et al. 2018, arXiv 1812.01717)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...tokenizers.frozen_convs import SameConv, pad_same
from ...tokenizers.spec import SignalSpec
from ...tokenizers.weights import Tensors, digest
from .config import I3DConfig
from .frozen import FrozenNet, fold_batch_norm, to_rgb, to_uint8_levels

_SIZE, _LEAST = 224, 9


class _Unit(nn.Module):
    """Convolution with batch norm folded in, "SAME" padding, ReLU."""

    def __init__(self, tensors: Tensors, name: str, stride: int = 1) -> None:
        super().__init__()
        weight, bias = fold_batch_norm(
            tensors[f"{name}.conv.weight"],
            gamma=None,
            beta=tensors[f"{name}.bn.bias"],
            mean=tensors[f"{name}.bn.running_mean"],
            var=tensors[f"{name}.bn.running_var"],
            eps=1e-3,
        )
        self.conv = SameConv(weight, bias, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(self.conv(x))


def _max_pool(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    # Everything that is pooled here comes from a ReLU, so padding with zeros equals TensorFlow's with minus infinity.
    return F.max_pool3d(pad_same(x, kernel, stride), kernel, stride)


class _Mixed(nn.Module):
    """An inception block: 1x1, two 1x1-3x3 chains, and a maximum pool with its 1x1."""

    def __init__(self, tensors: Tensors, block: str) -> None:
        super().__init__()
        # The released graph misnames one convolution of Mixed_5b.
        second = f"{block}.Branch_2.Conv3d_0b_3x3"
        if f"{second}.conv.weight" not in tensors and f"{block}.Branch_2.Conv3d_0a_3x3.conv.weight" in tensors:
            second = f"{block}.Branch_2.Conv3d_0a_3x3"
        self.direct = _Unit(tensors, f"{block}.Branch_0.Conv3d_0a_1x1")
        self.one = nn.Sequential(
            _Unit(tensors, f"{block}.Branch_1.Conv3d_0a_1x1"), _Unit(tensors, f"{block}.Branch_1.Conv3d_0b_3x3")
        )
        self.two = nn.Sequential(_Unit(tensors, f"{block}.Branch_2.Conv3d_0a_1x1"), _Unit(tensors, second))
        self.pooled = _Unit(tensors, f"{block}.Branch_3.Conv3d_0b_1x1")

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pooled(_max_pool(x, (3, 3, 3), (1, 1, 1)))
        return torch.cat([self.direct(x), self.one(x), self.two(x), pooled], 1)


class I3DNet(FrozenNet):
    """400 Kinetics logits of a clip, averaged over time."""

    logits_weight: Tensor
    logits_bias: Tensor

    def __init__(self, config: I3DConfig, signal: SignalSpec, tensors: Tensors) -> None:
        held = f"; here {signal.shape[0]} frames held to {_LEAST}" if signal.shape[0] < _LEAST else ""
        super().__init__(config, signal, note=f"; weights {digest(tensors)}{held}")
        self.stem = _Unit(tensors, "Conv3d_1a_7x7", stride=2)
        self.stem2 = nn.Sequential(_Unit(tensors, "Conv3d_2b_1x1"), _Unit(tensors, "Conv3d_2c_3x3"))
        self.three = nn.Sequential(*(_Mixed(tensors, f"Mixed_3{x}") for x in "bc"))
        self.four = nn.Sequential(*(_Mixed(tensors, f"Mixed_4{x}") for x in "bcdef"))
        self.five = nn.Sequential(*(_Mixed(tensors, f"Mixed_5{x}") for x in "bc"))
        name = "Logits.Conv3d_0c_1x1.conv"
        self.register_buffer("logits_weight", tensors[f"{name}.weight"].flatten(1), persistent=False)
        self.register_buffer("logits_bias", tensors[f"{name}.bias"], persistent=False)

    def forward(self, signal: Tensor) -> Tensor:
        """`[B, 1 or 3, T, H, W]` in [-1, 1] to `[B, 400]`."""
        frames = to_uint8_levels(signal).transpose(1, 2)
        if frames.shape[3:] != (_SIZE, _SIZE):
            resized = F.interpolate(frames.flatten(0, 1), (_SIZE, _SIZE), mode="bilinear", align_corners=False)
            frames = resized.unflatten(0, frames.shape[:2])
        x = to_rgb(frames.transpose(1, 2)) / 127.5 - 1
        if x.shape[2] < _LEAST:
            x = torch.cat([x, x[:, :, -1:].expand(-1, -1, _LEAST - x.shape[2], -1, -1)], 2)
        x = self.stem(x.contiguous(memory_format=torch.channels_last_3d))
        x = self.stem2(_max_pool(x, (1, 3, 3), (1, 2, 2)))
        x = self.three(_max_pool(x, (1, 3, 3), (1, 2, 2)))
        x = self.four(_max_pool(x, (3, 3, 3), (2, 2, 2)))
        x = self.five(_max_pool(x, (2, 2, 2), (2, 2, 2)))
        pooled = F.avg_pool3d(x, (2, 7, 7), stride=1).mean((2, 3, 4))
        return pooled @ self.logits_weight.T + self.logits_bias
