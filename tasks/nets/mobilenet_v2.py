"""MobileNetV2's features of images: the cheap ImageNet net (0.3 GFLOP an image)."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...results.errors import UserError
from ...tokenizers.spec import SignalSpec
from ...tokenizers.weights import Tensors, digest
from .config import MobileNetV2Config
from .frozen import FrozenNet, to_rgb, to_uint8_levels

_SIZE = 224
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class MobileNetV2Net(FrozenNet):
    """1280-d features: torchvision's MobileNetV2 without its classifier, averaged over positions."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: MobileNetV2Config, signal: SignalSpec, tensors: Tensors) -> None:
        super().__init__(config, signal, note=f"; weights {digest(tensors, ignore=('classifier.',))}")
        from torchvision.models import mobilenet_v2

        with torch.device("meta"):
            whole = mobilenet_v2(weights=None)
        expected = {name: t for name, t in whole.features.state_dict(prefix="features.").items() if t.dim() > 0}
        for name, tensor in expected.items():
            if tensors[name].shape != tensor.shape:
                raise UserError(f"{tensors.path}: not MobileNetV2: {name} is {tuple(tensors[name].shape)}")
        self.trunk = whole.features.to_empty(device="cpu").eval()
        self.trunk.load_state_dict({name.removeprefix("features."): tensors[name] for name in expected}, strict=False)
        _fold_batch_norm(self.trunk)
        self.trunk.to(memory_format=torch.channels_last).requires_grad_(False)
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, signal: Tensor) -> Tensor:
        """`[B, 1 or 3, H, W]` in [-1, 1] to `[B, 1280]`."""
        x = to_uint8_levels(signal)
        if x.shape[2:] != (_SIZE, _SIZE):
            x = F.interpolate(x, (_SIZE, _SIZE), mode="bilinear", align_corners=False, antialias=True)
        x = ((to_rgb(x) - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        return self.trunk(x).mean((2, 3))


def _fold_batch_norm(module: nn.Module) -> None:
    """Replaces every convolution that is followed by a batch norm by their product, in place."""
    children = list(module.named_children())
    for (name, child), (after, norm) in pairwise(children):
        if isinstance(child, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, name, nn.utils.fuse_conv_bn_eval(child, norm))
            setattr(module, after, nn.Identity())
    for _, child in module.named_children():
        _fold_batch_norm(child)
