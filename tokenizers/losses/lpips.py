"""LPIPS v0.1 on AlexNet (Zhang et al. 2018, arXiv 1801.03924, eq. 1): a perceptual distance of images, loss and metric.

The trunk's weights are looked up by the caller (`tokenizers.weights`, "alexnet_lpips"); the calibrated linear heads
come with the `lpips` package, of which nothing else is used here.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...results.errors import UserError
from ..lazy_net import LazyNet
from ..spec import SignalSpec
from ..weights import digest, load
from .base import Loss
from .lpips_config import LPIPSConfig

_LAYERS = (0, 3, 6, 8, 10)  # AlexNet's convolutions in torchvision's `features`
_GEOMETRY = ((4, 2), (1, 2), (1, 1), (1, 1), (1, 1))  # stride, padding
_LEAST = 32


class LPIPS(nn.Module):
    """The distance of images `x` and `y`, `[B, 3 or 1, H, W]` in [-1, 1]: `forward(x, y) -> [B]`.

    Frozen, differentiable with respect to both. Equals the `lpips` package; images whose shorter side is under 32
    pixels, which AlexNet's pools can't take, are first scaled up bilinearly until it is 32.
    """

    own_layout = True  # channels last, always

    protocol: str
    shift: Tensor
    scale: Tensor

    def __init__(self, weights: Path) -> None:
        """`weights` is the AlexNet file. Raises UserError when it or the `lpips` package is missing or broken."""
        super().__init__()
        trunk, heads = load(weights), load(_heads())
        convs: list[nn.Module] = []
        for i, (layer, (stride, padding)) in enumerate(zip(_LAYERS, _GEOMETRY, strict=True)):
            weight, bias = trunk[f"features.{layer}.weight"], trunk[f"features.{layer}.bias"]
            conv = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], stride=stride, padding=padding)
            conv.load_state_dict({"weight": weight, "bias": bias})
            convs.append(conv)
            # Weighting both sides by the root turns sum_c w_c (a_c - b_c)^2 into one plain squared distance.
            root = heads[f"lin{i}.model.1.weight"].clamp_min(0).sqrt()
            self.register_buffer(f"root{i}", root, persistent=False)
        self.convs = nn.ModuleList(convs)
        self.convs.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1), persistent=False)
        self.protocol = f"LPIPS v0.1 AlexNet, input in [-1, 1]; weights {digest(trunk, ignore=('classifier.',))}"
        self.eval().requires_grad_(False)

    def features(self, x: Tensor) -> list[Tensor]:
        """Of images `[B, 3 or 1, H, W]`: five maps whose squared distances sum to LPIPS. Cache those of a reference."""
        x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        if min(x.shape[2:]) < _LEAST:
            factor = _LEAST / min(x.shape[2:])
            size = [max(_LEAST, round(n * factor)) for n in x.shape[2:]]
            x = F.interpolate(x, size, mode="bilinear", align_corners=False)
        x = ((x - self.shift) / self.scale).contiguous(memory_format=torch.channels_last)
        maps = []
        for i, conv in enumerate(self.convs):
            x = F.relu(conv(F.max_pool2d(x, 3, stride=2) if i in (1, 2) else x))
            # The tiny number under the root keeps its gradient finite where all channels are zero.
            norm = (x.square().sum(1, keepdim=True) + 1e-20).sqrt()
            root = self.get_buffer(f"root{i}") * (x.shape[2] * x.shape[3]) ** -0.5
            maps.append(x / (norm + 1e-10) * root)
        return maps

    def distance(self, x: list[Tensor], y: list[Tensor]) -> Tensor:
        """The distance `[B]` of images given by their `features`."""
        return torch.stack([(a - b).square().sum((1, 2, 3)) for a, b in zip(x, y, strict=True)]).sum(0)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """See the class. Raises UserError on images of different shapes."""
        if x.shape != y.shape:
            raise UserError(f"lpips: the images differ in shape: {list(x.shape)} and {list(y.shape)}")
        return self.distance(self.features(x), self.features(y))


class Perceptual(Loss):
    """LPIPS of images, or of a clip's frames, averaged."""

    def __init__(self, config: LPIPSConfig, signal: SignalSpec) -> None:
        super().__init__(config, signal)
        self.net = LazyNet("alexnet_lpips", LPIPS, where="losses.lpips")

    def __call__(self, reconstruction: Tensor, signal: Tensor) -> Tensor:
        net = self.net.on(signal.device)
        if signal.ndim == 4:
            return net(reconstruction, signal)
        frames = [x.movedim(2, 1).flatten(0, 1) for x in (reconstruction, signal)]
        return net(*frames).view(len(signal), -1).mean(1)


def _heads() -> Path:
    # find_spec, not an import: importing the package takes seconds and pulls in torchvision.
    spec = find_spec("lpips")
    for folder in (spec.submodule_search_locations if spec is not None else None) or ():
        path = Path(folder) / "weights" / "v0.1" / "alex.pth"
        if path.is_file():
            return path
    raise UserError("LPIPS needs the linear heads in the package lpips 0.1.4: pip install lpips==0.1.4")
