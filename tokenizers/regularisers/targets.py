"""Frozen features that latents are aligned with: of a net, or made by hand where there are no weights.

Shape legend: B batch, C channels, E features, *signal the axes of a signal, *places those of the features.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..spec import MelSpec, Modality

if TYPE_CHECKING:
    from ..losses.lpips import LPIPS
    from ..spec import LatentSpec

_ORIENTATIONS = 8
_SCALES = 3
_MELS = 32
_ALEXNET = (64, 192, 384, 256, 256)


class Target:
    """A frozen function of signals, `[B, C, *signal]` to a list of maps `[B, e, *places]` with `channels` e in all."""

    channels: int

    def __call__(self, signal: Tensor) -> list[Tensor]:
        raise NotImplementedError


def build_target(name: str, spec: LatentSpec) -> Target:
    """The target called `name` for such signals."""
    modality = spec.signal.modality
    if name == "alexnet":
        return AlexNetFeatures(video=modality is Modality.VIDEO)
    if modality is Modality.WAVEFORM:
        length = spec.signal.shape[-1]
        return LogMelEnergies(rate=int(spec.signal.rate or 16000), length=length, positions=spec.grid.shape[-1])
    return OrientedGradients(video=modality is Modality.VIDEO)


def pooled(maps: list[Tensor], grid: tuple[int, ...]) -> Tensor:
    """All maps averaged onto `grid` (repeated where it is finer) and joined: `[B, E, *grid]`."""
    pool = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[len(grid) - 1]
    return torch.cat([pool(x, grid) for x in maps], dim=1)  # type: ignore[arg-type]


class OrientedGradients(Target):
    """Energies of the gradient by orientation, and in all, at three scales of the brightness, with its local mean.

    After Dalal and Triggs 2005, without their blocks: each gradient votes with its length for the two nearest of eight
    orientations in [0, pi). The scales halve the size. Logarithms of 1e-2 + energy: faint edges count as well.
    """

    channels = _SCALES * (_ORIENTATIONS + 2)

    def __init__(self, *, video: bool) -> None:
        self.video = video

    def __call__(self, signal: Tensor) -> list[Tensor]:
        grey = signal.mean(1, keepdim=True)
        if not self.video:
            return self._maps(grey)
        frames = len(signal), signal.shape[2]
        maps = self._maps(grey.transpose(1, 2).flatten(0, 1))
        return [x.unflatten(0, frames).transpose(1, 2) for x in maps]

    def _maps(self, grey: Tensor) -> list[Tensor]:
        maps = []
        for scale in range(_SCALES):
            if scale:
                grey = F.avg_pool2d(grey, 2, ceil_mode=True)
            histogram = orientations(grey)
            total = histogram.sum(1, keepdim=True)
            maps.append(torch.cat([(1e-2 + histogram).log(), (1e-2 + total).log(), grey], dim=1))
        return maps


def orientations(grey: Tensor) -> Tensor:
    """Gradient lengths by orientation, `[B, 1, H, W]` to `[B, 8, H, W]`; edges repeat, so that borders are no edges."""
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    dx = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    dy = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    length = (dx.square() + dy.square()).sqrt()
    place = torch.atan2(dy, dx) / math.pi * _ORIENTATIONS % _ORIENTATIONS
    bins = torch.arange(_ORIENTATIONS, device=grey.device).view(1, -1, 1, 1)
    distance = (place - bins).abs()
    distance = torch.minimum(distance, _ORIENTATIONS - distance)
    return length * (1 - distance).clamp_min(0)


class LogMelEnergies(Target):
    """Log-mel energies of waveforms with about one frame per latent position: `[B, 1, N]` to `[B, 32, T]`."""

    channels = _MELS

    def __init__(self, *, rate: int, length: int, positions: int) -> None:
        hop = max(16, length // max(1, positions))
        window = 2 ** math.ceil(math.log2(max(64, min(512, 4 * hop))))
        self.mel = MelSpec(sample_rate=rate, n_mels=_MELS, n_fft=min(window, length), hop=hop)

    def __call__(self, signal: Tensor) -> list[Tensor]:
        from ..losses.stft import log_mel

        return [log_mel(signal.mean(1, keepdim=True), mel=self.mel).flatten(1, 2)]


class AlexNetFeatures(Target):
    """The five maps of AlexNet that LPIPS compares (Zhang et al. 2018), of images or of every frame.

    The net is loaded at the first use and kept out of the tokenizer's modules, whose parameters are counted and saved.
    """

    channels = sum(_ALEXNET)

    def __init__(self, *, video: bool) -> None:
        self.video = video
        self._net: LPIPS | None = None

    def __call__(self, signal: Tensor) -> list[Tensor]:
        net = self._load(signal.device)
        if not self.video:
            return net.features(signal)
        frames = len(signal), signal.shape[2]
        maps = net.features(signal.transpose(1, 2).flatten(0, 1))
        return [x.unflatten(0, frames).transpose(1, 2) for x in maps]

    def _load(self, device: torch.device) -> LPIPS:
        if self._net is None:
            from ..losses.lpips import LPIPS
            from ..weights import require

            net: nn.Module = LPIPS(require("alexnet_lpips", where="regularisers.alignment")).eval()
            assert isinstance(net, LPIPS)
            self._net = net
        self._net.to(device)
        return self._net
