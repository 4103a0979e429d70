"""MusiCNN's features of music: musically motivated filters over log-mel patches, written after the published model.

Front end (musicnn 0.1.0): power spectrum of 512-point periodic Hann windows every 256 samples, centred and reflected,
96 Slaney mel bins, log10(10000 x + 1). Batch norm stands behind each ReLU, so it can't be folded into the convolution
before it and is kept as a scale and an offset.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...tokenizers.frozen_convs import MonoAt16k, SameConv, conv
from ...tokenizers.spec import SignalSpec
from ...tokenizers.weights import Tensors, digest
from .config import MusicnnConfig
from .frozen import FrozenNet

_FFT, _HOP, _MELS, _PATCH = 512, 256, 96, 187


class _Norm(nn.Module):
    """Batch norm in evaluation as a scale and an offset over `axis`."""

    scale: Tensor
    offset: Tensor

    def __init__(self, tensors: Tensors, index: int, axis: int = 1) -> None:
        super().__init__()
        name = "batch_normalization" + (f"_{index}" if index else "")
        gamma, beta, mean, var = (
            tensors[f"{name}/{part}"].double() for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        scale = gamma * (var + 1e-3).rsqrt()
        self.axis = axis
        self.register_buffer("scale", scale.float(), persistent=False)
        self.register_buffer("offset", (beta - mean * scale).float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        shape = [1] * x.dim()
        shape[self.axis] = -1
        return x * self.scale.view(shape) + self.offset.view(shape)


class MusicnnNet(FrozenNet):
    """200-d penultimate layer of MusiCNN, the mean over a waveform's patches of 187 frames (3 s)."""

    mels: Tensor
    window: Tensor
    dense_weight: Tensor
    dense_bias: Tensor
    tags_weight: Tensor
    tags_bias: Tensor

    def __init__(self, config: MusicnnConfig, signal: SignalSpec, tensors: Tensors) -> None:
        mono = MonoAt16k(signal)
        super().__init__(config, signal, note=f"; weights {digest(tensors)}{mono.note}")
        from torchaudio.functional import melscale_fbanks

        self.mono = mono
        mels = melscale_fbanks(_FFT // 2 + 1, 0.0, 8000.0, _MELS, 16_000, norm="slaney", mel_scale="slaney")
        self.register_buffer("mels", mels, persistent=False)
        self.register_buffer("window", torch.hann_window(_FFT), persistent=False)
        self.norms = nn.ModuleList(_Norm(tensors, i) for i in range(11))

        def kernel(index: int) -> tuple[Tensor, Tensor]:
            name = "conv2d" + (f"_{index}" if index else "")
            return tensors[f"{name}/kernel"].permute(3, 2, 0, 1), tensors[f"{name}/bias"]  # HWIO to OIHW

        def across_time(index: int) -> nn.Module:
            weight, bias = kernel(index)  # [64, 1, 7, features]: a 1-d convolution over all features
            return conv(weight[:, 0].transpose(1, 2), bias, padding=3)

        self.timbral = nn.ModuleList(conv(*kernel(i), padding=(3, 0)) for i in (0, 1))
        self.temporal = nn.ModuleList(SameConv(*kernel(i)) for i in (2, 3, 4))
        self.middle = nn.ModuleList(across_time(i) for i in (5, 6, 7))
        for name, source in (("dense", "dense"), ("tags", "dense_1")):
            self.register_buffer(f"{name}_weight", tensors[f"{source}/kernel"], persistent=False)
            self.register_buffer(f"{name}_bias", tensors[f"{source}/bias"], persistent=False)

    def patches(self, waveform: Tensor) -> Tensor:
        """`[B, N]` mono at 16 kHz to log-mel patches `[B, P, 187, 96]`; shorter clips are looped to one patch."""
        least = (_PATCH - 1) * _HOP
        if waveform.shape[1] < least:
            waveform = waveform.repeat(1, -(-least // waveform.shape[1]))[:, :least]
        power = torch.stft(waveform, _FFT, _HOP, window=self.window, return_complex=True).abs().square()
        mel = torch.log10(10_000 * (power.transpose(1, 2) @ self.mels) + 1)
        return mel.unfold(1, _PATCH, _PATCH).transpose(2, 3)

    def forward(self, signal: Tensor) -> Tensor:
        """`[B, C, N]` waveform at the signal's rate to `[B, 200]`."""
        patches = self.patches(self.mono(signal))
        x = self.norms[0](patches.flatten(0, 1)[:, None])  # [B P, 1, time, mel]
        maps = [F.relu(layer(x)) for layer in (*self.timbral, *self.temporal)]
        x = torch.cat([norm(y).amax(3) for norm, y in zip(self.norms[1:6], maps, strict=True)], 1)  # [B P, 561, time]
        layers = [x]
        for layer, norm in zip(self.middle, self.norms[6:9], strict=True):
            y = norm(F.relu(layer(x)))
            x = y if len(layers) == 1 else y + x
            layers.append(x)
        every = torch.cat(layers, 1)
        pooled = torch.stack([every.amax(2), every.mean(2)], 2).flatten(1)  # maximum and mean of a channel side by side
        features = self.norms[10](F.relu(self.norms[9](pooled) @ self.dense_weight + self.dense_bias))
        return features.unflatten(0, patches.shape[:2]).mean(1)

    def tags(self, features: Tensor) -> Tensor:
        """Tag probabilities `[B, 50]` of features `[B, 200]` (MusiCNN's own head)."""
        return torch.sigmoid(features @ self.tags_weight + self.tags_bias)
