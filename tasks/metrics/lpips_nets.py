"""LPIPS on VGG16 and SqueezeNet: the `lpips` package's own nets, with trunks from files on this machine."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...tokenizers.weights import digest, load

_NAMES = {"vgg": "VGG16", "squeeze": "SqueezeNet 1.1"}
_LEAST = 32  # as for AlexNet; five poolings leave VGG16 two positions of it


class PackageLPIPS(nn.Module):
    """The distance of images `x` and `y`, `[B, 3 or 1, H, W]` in [-1, 1]: `forward(x, y) -> [B]`. Frozen.

    `weights` is torchvision's file of the trunk; the linear heads come with the package. Images whose shorter side is
    under 32 pixels are first scaled up bilinearly until it is 32. Raises UserError for a file of another net.
    """

    def __init__(self, net: Literal["vgg", "squeeze"], weights: Path) -> None:
        super().__init__()
        import lpips

        tensors = load(weights)
        # Initial weights are drawn and overwritten; the package calls torchvision in a way that it deprecates.
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.package = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
        # The trunk's layers have torchvision's numbers behind the slice that they are in.
        trunk = {name: f"features.{name.partition('.')[2]}" for name in self.package.net.state_dict()}
        self.package.net.load_state_dict({name: tensors[theirs] for name, theirs in trunk.items()})
        used = digest({theirs: tensors[theirs] for theirs in trunk.values()})
        self.protocol = f"LPIPS v0.1 {_NAMES[net]}, input in [-1, 1]; weights {used}"
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """See the class."""
        x, y = (z.expand(-1, 3, -1, -1) if z.shape[1] == 1 else z for z in (x, y))
        if min(x.shape[2:]) < _LEAST:
            size = [max(_LEAST, round(n * _LEAST / min(x.shape[2:]))) for n in x.shape[2:]]
            x, y = (F.interpolate(z, size, mode="bilinear", align_corners=False) for z in (x, y))
        distance: Tensor = self.package(x, y)
        return distance.flatten()
