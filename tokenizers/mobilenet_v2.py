"""MobileNetV2 (Sandler et al. 2018), torchvision's trained on ImageNet, frozen: whole, or up to a 16th of the size."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from ..results.errors import UserError
from .weights import Tensors, load

_SIXTEENTH = 14  # blocks up to the last before the map is a 32nd of the size
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def trunk(tensors: Tensors, *, blocks: int | None = None) -> nn.Sequential:
    """The net without its classifier, or its first `blocks`, for normalised images `[B, 3, H, W]`; batch norm folded.

    Raises UserError on the weights of another net.
    """
    from torchvision.models import mobilenet_v2

    with torch.device("meta"):
        whole: nn.Sequential = mobilenet_v2(weights=None).features[:blocks]
    expected = {name: t for name, t in whole.state_dict(prefix="features.").items() if t.dim() > 0}
    for name, tensor in expected.items():
        if tensors[name].shape != tensor.shape:
            raise UserError(f"{tensors.path}: not MobileNetV2: {name} is {tuple(tensors[name].shape)}")
    whole = whole.to_empty(device="cpu").eval()
    whole.load_state_dict({name.removeprefix("features."): tensors[name] for name in expected}, strict=False)
    _fold_batch_norm(whole)
    whole.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return whole.requires_grad_(False)


def normalisation() -> tuple[Tensor, Tensor]:
    """Mean and deviation `[1, 3, 1, 1]` of ImageNet's pixels in [0, 1]."""
    return torch.tensor(_MEAN).view(1, 3, 1, 1), torch.tensor(_STD).view(1, 3, 1, 1)


def sixteenth(path: Path) -> nn.Module:
    """The net up to a 16th of the size: `[B, 1 or 3, H, W]` in [-1, 1] to `[B, 96, H / 16, W / 16]`."""
    return _Sixteenth(load(path))


class _Sixteenth(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, tensors: Tensors) -> None:
        super().__init__()
        self.trunk = trunk(tensors, blocks=_SIXTEENTH)
        mean, std = normalisation()
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        x = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        x = ((x + 1) / 2 - self.mean) / self.std
        return self.trunk(x.contiguous(memory_format=torch.channels_last))


def _fold_batch_norm(module: nn.Module) -> None:
    """Replaces every convolution that is followed by a batch norm by their product, in place."""
    children = list(module.named_children())
    for (name, child), (after, norm) in pairwise(children):
        if isinstance(child, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, name, nn.utils.fuse_conv_bn_eval(child, norm))
            setattr(module, after, nn.Identity())
    for _, child in module.named_children():
        _fold_batch_norm(child)
