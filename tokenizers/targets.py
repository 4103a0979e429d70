"""Frozen features that latents are aligned with or made of: of a network, or hand-crafted, which needs no weights.

Shape legend: B batch, C channels, E features, *signal the axes of a signal, *places those of the features.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from . import mobilenet_v2, yamnet
from .lazy_net import LazyNet
from .losses.lpips import LPIPS
from .losses.stft import log_mel
from .mel import LogMel
from .scattering import FAINT, Scattering, audible
from .spec import MelSpec, Modality, SignalSpec
from .target_sizes import (
    ALEXNET,
    MELS,
    MOBILENET_V2,
    ORIENTATIONS,
    SCALES,
    SOUND_BANDS,
    YAMNET,
    YAMNET_BANDS,
    mel_front_end,
    mel_of,
    scattering_channels,
)
from .yamnet import Spread


class Target:
    """A frozen function of signals, `[B, C, *signal]` to a list of maps `[B, e, *places]`; `channels` sums e."""

    channels: int

    def __call__(self, signal: Tensor) -> list[Tensor]:
        raise NotImplementedError


def build_target(name: str, signal: SignalSpec, grid: tuple[int, ...], *, where: str) -> Target:
    """The target called `name` for such signals, its features to lie on `grid`; `where` is the option that asks."""
    modality = signal.modality
    if name == "alexnet":
        return AlexNetFeatures(video=modality is Modality.VIDEO, where=where)
    if name == "mobilenet_v2":
        return MobileNetV2Features(grid[-2:], video=modality is Modality.VIDEO, where=where)
    if name == "yamnet":
        return YamnetFeatures(signal, grid[-1], where=where)
    if name == "scattering":
        return ScatteringMaps(signal, grid)
    if modality is Modality.WAVEFORM:
        return LogMelEnergies(mel_of(signal, grid[-1]))
    return OrientedGradients(video=modality is Modality.VIDEO)


def pooled(maps: list[Tensor], grid: tuple[int, ...]) -> Tensor:
    """All maps averaged onto `grid` (repeated where it is finer) and concatenated: `[B, E, *grid]`."""
    pool = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[len(grid) - 1]
    return torch.cat([pool(x, grid) for x in maps], dim=1)  # type: ignore[arg-type]


class OrientedGradients(Target):
    """Energies of the brightness gradient by orientation and in total, and the local brightness, at three scales.

    After Dalal and Triggs 2005, without their blocks: each gradient votes with its length for the two nearest of eight
    orientations in [0, pi). Each scale has half the size of the one before. Energies enter as ln(1e-2 + energy), so
    that faint edges count as well.
    """

    channels = SCALES * (ORIENTATIONS + 2)

    def __init__(self, *, video: bool) -> None:
        self.video = video

    def __call__(self, signal: Tensor) -> list[Tensor]:
        grey = signal.mean(1, keepdim=True)
        return of_frames(self._maps, grey) if self.video else self._maps(grey)

    def _maps(self, grey: Tensor) -> list[Tensor]:
        maps = []
        for scale in range(SCALES):
            if scale:
                grey = F.avg_pool2d(grey, 2, ceil_mode=True)
            histogram = orientations(grey)
            total = histogram.sum(1, keepdim=True)
            maps.append(torch.cat([(1e-2 + histogram).log(), (1e-2 + total).log(), grey], dim=1))
        return maps


def orientations(grey: Tensor) -> Tensor:
    """Gradient lengths by orientation, `[B, 1, H, W]` to `[B, 8, H, W]`; border pixels repeat: borders are no edges."""
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    dx = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    dy = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    length = (dx.square() + dy.square()).sqrt()
    place = torch.atan2(dy, dx) / math.pi * ORIENTATIONS % ORIENTATIONS
    bins = torch.arange(ORIENTATIONS, device=grey.device).view(1, -1, 1, 1)
    distance = (place - bins).abs()
    distance = torch.minimum(distance, ORIENTATIONS - distance)
    return length * (1 - distance).clamp_min(0)


class LogMelEnergies(Target):
    """Log-mel energies of waveforms with about one frame per latent position: `[B, 1, N]` to `[B, 32, T]`."""

    channels = MELS

    def __init__(self, mel: MelSpec) -> None:
        self.mel = mel

    def __call__(self, signal: Tensor) -> list[Tensor]:
        return [log_mel(signal.mean(1, keepdim=True), mel=self.mel).flatten(1, 2)]


class AlexNetFeatures(Target):
    """The five maps of AlexNet that LPIPS compares (Zhang et al. 2018), of images or of every frame."""

    channels = sum(ALEXNET)

    def __init__(self, *, video: bool, where: str) -> None:
        self.net = LazyNet("alexnet_lpips", LPIPS, where=where)
        self.video = video

    def __call__(self, signal: Tensor) -> list[Tensor]:
        maps = self.net.on(signal.device).features
        return of_frames(maps, signal) if self.video else maps(signal)


class MobileNetV2Features(Target):
    """MobileNetV2's last map of a 16th of the size, of images or of every frame, scaled so that it is `grid`'s size.

    What RAE does with a vision transformer's patches (Zheng et al. 2025, arXiv 2510.11690).
    """

    channels = MOBILENET_V2

    def __init__(self, grid: tuple[int, ...], *, video: bool, where: str) -> None:
        self.net = LazyNet("mobilenet_v2", mobilenet_v2.sixteenth, where=where)
        self.size = tuple(16 * n for n in grid)
        self.video = video

    def __call__(self, signal: Tensor) -> list[Tensor]:
        return of_frames(self._maps, signal) if self.video else self._maps(signal)

    def _maps(self, images: Tensor) -> list[Tensor]:
        if images.shape[2:] != self.size:
            images = F.interpolate(images, self.size, mode="bilinear", align_corners=False, antialias=True)
        return [self.net.on(images.device)(images)]


class YamnetFeatures(Target):
    """YAMNet's last map of a 16th of the size, of waveforms whose frames are so near that it has `positions` places (or
    more of them, where the net's own frames are nearer); its bands of frequencies are channels."""

    channels = YAMNET * YAMNET_BANDS

    def __init__(self, signal: SignalSpec, positions: int, *, where: str) -> None:
        self.net = LazyNet("yamnet", yamnet.sixteenth, where=where)
        self.spread = Spread(signal, positions)

    def __call__(self, signal: Tensor) -> list[Tensor]:
        trunk = self.net.on(signal.device)
        return [trunk(self.spread.to(signal.device)(signal, trunk)).transpose(2, 3).flatten(1, 2)]


class ScatteringMaps(Target):
    """The maps of the feature net `scattering`, averaged onto `grid`; all but the planes, which have a sign, as
    logarithms, as the net takes them of its averages. A waveform's log-mel is averaged in four bands of frequencies,
    which are channels."""

    def __init__(self, signal: SignalSpec, grid: tuple[int, ...]) -> None:
        self.channels = scattering_channels(signal)
        self.grid, self.video = grid, signal.modality is Modality.VIDEO
        self.log_mel = LogMel(mel_front_end(signal)) if signal.modality is Modality.WAVEFORM else None
        self.mel = self.log_mel.spec if self.log_mel is not None else signal.mel
        self.net = Scattering(signal.modality, signal.channels)

    def __call__(self, signal: Tensor) -> list[Tensor]:
        net = self.net.to(signal.device)
        pictures = signal if self.log_mel is None else self.log_mel.to(signal.device)(signal)
        planes = net.planes(pictures if self.mel is None else audible(pictures, self.mel))
        frames = planes.shape[:2]
        return [
            local if signed else (local + FAINT).log()
            for maps, signed in net.maps(planes.flatten(0, 1))
            for local in (self._local(maps.unflatten(0, frames).transpose(1, 2)),)
        ]

    def _local(self, maps: Tensor) -> Tensor:
        """`[B, K, T, H, W]` averaged onto the grid."""
        if self.video:
            return F.adaptive_avg_pool3d(maps, self.grid)  # type: ignore[arg-type]
        if self.log_mel is None:
            return F.adaptive_avg_pool2d(maps[:, :, 0], self.grid)  # type: ignore[arg-type]
        return F.adaptive_avg_pool2d(maps[:, :, 0], (SOUND_BANDS, self.grid[-1])).flatten(1, 2)


def of_frames(maps: Callable[[Tensor], list[Tensor]], clip: Tensor) -> list[Tensor]:
    """Maps of every frame of a clip `[B, C, T, H, W]`: a list of `[B, e, T, *places]`."""
    frames = len(clip), clip.shape[2]
    return [x.unflatten(0, frames).transpose(1, 2) for x in maps(clip.transpose(1, 2).flatten(0, 1))]
