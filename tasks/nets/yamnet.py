"""YAMNet's embedding of sounds, whose log-mel front end and layers are `tokenizers.yamnet`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...tokenizers.frozen_convs import MonoAt16k
from ...tokenizers.spec import SignalSpec
from ...tokenizers.target_sizes import YAMNET_HOP, YAMNET_WINDOW
from ...tokenizers.weights import Tensors, digest
from ...tokenizers.yamnet import Trunk, weight
from .config import YamnetConfig
from .frozen import FrozenNet

_PATCH, _PATCH_HOP = 96, 48  # frames


class YamnetNet(FrozenNet):
    """1024-d embedding of a waveform: the mean over its patches of 0.96 s, one every 0.48 s."""

    class_weight: Tensor
    class_bias: Tensor

    def __init__(self, config: YamnetConfig, signal: SignalSpec, tensors: Tensors) -> None:
        mono = MonoAt16k(signal)
        super().__init__(config, signal, note=f"; weights {digest(tensors)}{mono.note}")
        self.mono = mono
        self.trunk = Trunk(tensors)
        self.register_buffer("class_weight", weight(tensors, "dense"), persistent=False)
        self.register_buffer("class_bias", tensors["dense.bias"], persistent=False)

    def patches(self, waveform: Tensor) -> Tensor:
        """`[B, N]` mono at 16 kHz to log-mel patches `[B, P, 96, 64]`; the end is padded with silence."""
        first = (_PATCH - 1) * YAMNET_HOP + YAMNET_WINDOW
        hop = _PATCH_HOP * YAMNET_HOP
        more = max(waveform.shape[1] - first, 0)
        waveform = F.pad(waveform, (0, first + -(-more // hop) * hop - waveform.shape[1]))
        return self.trunk.log_mel(waveform).unfold(1, _PATCH, _PATCH_HOP).transpose(2, 3)

    def forward(self, signal: Tensor) -> Tensor:
        """`[B, C, N]` waveform at the signal's rate to `[B, 1024]`."""
        patches = self.patches(self.mono(signal))
        return self.trunk(patches.flatten(0, 1)).mean((2, 3)).unflatten(0, patches.shape[:2]).mean(1)

    def classes(self, features: Tensor) -> Tensor:
        """AudioSet probabilities `[B, 521]` of features `[B, 1024]` (YAMNet's own head)."""
        return torch.sigmoid(features @ self.class_weight.T + self.class_bias)
