"""LPIPS of reconstructions: per image, and per frame for clips."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ...results.errors import UserError
from ...tokenizers.losses.lpips import LPIPS
from ...tokenizers.spec import Modality, SignalSpec
from .config import LpipsNetConfig
from .frames import per_frame
from .interface import PairMetric, where_finite
from .lpips_nets import PackageLPIPS
from .psnr import to_uint8


def alexnet(weights: Path) -> LPIPS:
    """Ours, on AlexNet."""
    return LPIPS(weights)


def vgg(weights: Path) -> PackageLPIPS:
    """The package's, on VGG16."""
    return PackageLPIPS("vgg", weights)


def squeeze(weights: Path) -> PackageLPIPS:
    """The package's, on SqueezeNet."""
    return PackageLPIPS("squeeze", weights)


@torch.no_grad()
def lpips(x: Tensor, y: Tensor, model: nn.Module, *, chunk: int = 64) -> Tensor:
    """LPIPS of `[B, C, H, W]` in [-1, 1] twice to `[B]`; of clips `[B, C, T, H, W]` to `[B, T]`.

    At most `chunk` images or frames pass through the net at once. Raises UserError on different shapes.
    """
    if x.shape != y.shape:
        raise UserError(f"lpips: the two signals differ in shape: {list(x.shape)} and {list(y.shape)}")
    if x.ndim == 5:
        return per_frame(lambda a, b: lpips(a, b, model, chunk=chunk), x, y)
    return torch.cat([model(a, b) for a, b in zip(x.split(chunk), y.split(chunk), strict=True)])


class Lpips(PairMetric):
    """See `LpipsNetConfig`; made with its loaded net."""

    def __init__(self, config: LpipsNetConfig, model: LPIPS | PackageLPIPS) -> None:
        super().__init__(config)
        self.model = model

    def values(self, reconstruction: Tensor, original: Tensor, signal: SignalSpec) -> Tensor:
        x, y = (to_uint8(z).float().div_(127.5).sub_(1) for z in (reconstruction, original))
        return where_finite(lpips(x, y, self.model), reconstruction, original)

    def protocol(self, signal: SignalSpec) -> str:
        per = "frame" if signal.modality is Modality.VIDEO else "image"
        small = "; scaled up bilinearly to 32 px" if min(signal.shape[-2:]) < 32 else ""
        return f"mean of per-{per} {self.model.protocol}; uint8 by rounding and clamping{small}"
