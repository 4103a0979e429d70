"""YAMNet's log-mel front end and MobileNet-v1 trunk, after the published model, frozen: whole, or its first layers.

Front end (Google, research/audioset/yamnet/features.py): 25 ms periodic Hann windows every 10 ms, 512-point magnitude
spectrum, 64 mel bins of 125-7500 Hz (HTK scale, triangles drawn on the mel axis), log(mel + 0.001).
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .frozen_convs import MonoAt16k, SameConv, conv
from .spec import SignalSpec
from .target_sizes import YAMNET_BINS, YAMNET_HOP, YAMNET_WINDOW, yamnet_frames
from .weights import Tensors, load

FFT = 512
LAYERS, SIXTEENTH = 14, 12  # all, and up to the last before the map is a 32nd of the size
_STRIDED = (3, 5, 7, 13)


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


def weight(tensors: Tensors, name: str) -> Tensor:
    """A layer's weight, from int8 where it is stored so."""
    if f"{name}.weight" in tensors:
        return tensors[f"{name}.weight"]
    whole, scale = tensors[f"{name}.weight_int8"].float(), tensors[f"{name}.weight_scale"]
    return whole * scale.view(-1, *[1] * (whole.dim() - 1))


class Trunk(nn.Module):
    """Log-mels of 16 kHz, and the net's layers, or its first `layers`, on them."""

    window: Tensor
    mels: Tensor

    def __init__(self, tensors: Tensors, *, layers: int = LAYERS) -> None:
        super().__init__()
        self.stem = SameConv(weight(tensors, "layer1.conv"), tensors["layer1.conv.bias"], stride=2)
        parts: list[nn.Module] = []
        for i in range(2, layers + 1):
            depthwise, stride = weight(tensors, f"layer{i}.dw"), 2 if i in _STRIDED else 1
            bias = tensors[f"layer{i}.dw.bias"]
            parts.append(SameConv(depthwise, bias, stride=stride, groups=depthwise.shape[0]))
            parts.append(conv(weight(tensors, f"layer{i}.pw"), tensors[f"layer{i}.pw.bias"]))
        self.layers = nn.ModuleList(parts)
        self.register_buffer("window", torch.hann_window(YAMNET_WINDOW, periodic=True), persistent=False)
        self.register_buffer(
            "mels", mel_matrix(YAMNET_BINS, FFT // 2 + 1, MonoAt16k.rate, 125.0, 7500.0), persistent=False
        )

    def log_mel(self, waveform: Tensor, hop: int = YAMNET_HOP) -> Tensor:
        """`[B, N]` mono at 16 kHz to `[B, frames, 64]`, a frame every `hop` samples while it lies inside."""
        frames = waveform.unfold(1, YAMNET_WINDOW, hop) * self.window
        return torch.log(torch.fft.rfft(frames, n=FFT).abs() @ self.mels + 0.001)

    def forward(self, log_mel: Tensor) -> Tensor:
        """`[B, frames, 64]` to the last layer's map `[B, channels, frames / stride, 64 / stride]`."""
        x = log_mel[:, None].contiguous(memory_format=torch.channels_last)
        x = F.relu_(self.stem(x))
        for layer in self.layers:
            x = F.relu_(layer(x))
        return x


def sixteenth(path: Path) -> Trunk:
    """The net up to a 16th of the size, of the published weights."""
    return Trunk(load(path), layers=SIXTEENTH)


class Spread(nn.Module):
    """A waveform at its signal's rate as the log-mels that the net sees: as many as `yamnet_frames` says."""

    def __init__(self, signal: SignalSpec, positions: int) -> None:
        super().__init__()
        self.mono = MonoAt16k(signal)
        self.hop, self.frames = yamnet_frames(signal, positions)

    def forward(self, waveform: Tensor, trunk: Trunk) -> Tensor:
        """`[B, C, N]` to `[B, frames, 64]`: frame i is centred on i + ½ hops, and beyond the ends is silence."""
        mono = self.mono(waveform)
        before = (YAMNET_WINDOW - self.hop) // 2
        after = (self.frames - 1) * self.hop + YAMNET_WINDOW - before - mono.shape[1]
        return trunk.log_mel(F.pad(mono, (before, max(0, after))), self.hop)[:, : self.frames]
