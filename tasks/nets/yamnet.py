"""YAMNet's embedding of sounds: its log-mel front end and MobileNet-v1 trunk, written after the published model.

Front end (Google, research/audioset/yamnet/features.py): 25 ms periodic Hann windows every 10 ms, 512-point magnitude
spectrum, 64 mel bins of 125-7500 Hz (HTK scale, triangles drawn on the mel axis), log(mel + 0.001).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...tokenizers.spec import SignalSpec
from ...tokenizers.weights import Tensors, digest
from .config import YamnetConfig
from .frozen import FrozenNet, MonoAt16k, SameConv, conv
from .mel import mel_matrix

_WINDOW, _HOP, _FFT = 400, 160, 512
_PATCH, _PATCH_HOP = 96, 48  # frames
_STRIDED = (3, 5, 7, 13)


class YamnetNet(FrozenNet):
    """1024-d embedding of a waveform: the mean over its patches of 0.96 s, one every 0.48 s."""

    class_weight: Tensor
    class_bias: Tensor
    window: Tensor
    mels: Tensor

    def __init__(self, config: YamnetConfig, signal: SignalSpec, tensors: Tensors) -> None:
        mono = MonoAt16k(signal)
        super().__init__(config, signal, note=f"; weights {digest(tensors)}{mono.note}")
        self.mono = mono

        def weight(name: str) -> Tensor:
            if f"{name}.weight" in tensors:
                return tensors[f"{name}.weight"]
            whole, scale = tensors[f"{name}.weight_int8"].float(), tensors[f"{name}.weight_scale"]
            return whole * scale.view(-1, *[1] * (whole.dim() - 1))

        self.stem = SameConv(weight("layer1.conv"), tensors["layer1.conv.bias"], stride=2)
        layers: list[nn.Module] = []
        for i in range(2, 15):
            depthwise = weight(f"layer{i}.dw")
            layers.append(
                SameConv(
                    depthwise,
                    tensors[f"layer{i}.dw.bias"],
                    stride=2 if i in _STRIDED else 1,
                    groups=depthwise.shape[0],
                )
            )
            layers.append(conv(weight(f"layer{i}.pw"), tensors[f"layer{i}.pw.bias"]))
        self.layers = nn.ModuleList(layers)
        self.register_buffer("class_weight", weight("dense"), persistent=False)
        self.register_buffer("class_bias", tensors["dense.bias"], persistent=False)
        self.register_buffer("window", torch.hann_window(_WINDOW, periodic=True), persistent=False)
        self.register_buffer("mels", mel_matrix(64, _FFT // 2 + 1, 16_000, 125.0, 7500.0), persistent=False)

    def patches(self, waveform: Tensor) -> Tensor:
        """`[B, N]` mono at 16 kHz to log-mel patches `[B, P, 96, 64]`; the end is padded with silence."""
        first = (_PATCH - 1) * _HOP + _WINDOW
        hop = _PATCH_HOP * _HOP
        more = max(waveform.shape[1] - first, 0)
        waveform = F.pad(waveform, (0, first + -(-more // hop) * hop - waveform.shape[1]))
        frames = waveform.unfold(1, _WINDOW, _HOP) * self.window
        mel = torch.log(torch.fft.rfft(frames, n=_FFT).abs() @ self.mels + 0.001)
        return mel.unfold(1, _PATCH, _PATCH_HOP).transpose(2, 3)

    def forward(self, signal: Tensor) -> Tensor:
        """`[B, C, N]` waveform at the signal's rate to `[B, 1024]`."""
        patches = self.patches(self.mono(signal))
        x = patches.flatten(0, 1)[:, None].contiguous(memory_format=torch.channels_last)
        x = F.relu_(self.stem(x))
        for layer in self.layers:
            x = F.relu_(layer(x))
        return x.mean((2, 3)).unflatten(0, patches.shape[:2]).mean(1)

    def classes(self, features: Tensor) -> Tensor:
        """AudioSet probabilities `[B, 521]` of features `[B, 1024]` (YAMNet's own head)."""
        return torch.sigmoid(features @ self.class_weight.T + self.class_bias)
