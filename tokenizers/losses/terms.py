"""The loss terms: functions of reconstruction and signal that give one loss per sample.

Elementwise terms are means over a sample's elements: the negative log-likelihood summed over the sample, divided by the
number of elements. Everything else in an objective is on that scale.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..spec import MelSpec, SignalSpec

Term = Callable[[Tensor, Tensor], Tensor]


def l1(reconstruction: Tensor, signal: Tensor) -> Tensor:
    """Mean |x' - x|: `[B, C, *signal]` twice to `[B]`."""
    return (reconstruction - signal).abs().flatten(1).mean(1)


def l2(reconstruction: Tensor, signal: Tensor) -> Tensor:
    """Mean (x' - x)^2: `[B, C, *signal]` twice to `[B]`."""
    return (reconstruction - signal).square().flatten(1).mean(1)


def huber(reconstruction: Tensor, signal: Tensor, *, delta: float) -> Tensor:
    """Mean of d^2 / 2 where |d| <= delta and delta (|d| - delta / 2) beyond, d = x' - x: `[B, C, *signal]` to `[B]`.

    Huber 1964 (Annals of Mathematical Statistics 35): squared error that outliers pull on as on L1.
    """
    return nn.functional.huber_loss(reconstruction, signal, reduction="none", delta=delta).flatten(1).mean(1)


class Perceptual:
    """LPIPS of images, or of a clip's frames averaged.

    The frozen network is loaded at the first use, so that a trained tokenizer opens without it, and is kept out of the
    tokenizer's modules, whose parameters are counted and saved.
    """

    def __init__(self) -> None:
        self._net: nn.Module | None = None

    def __call__(self, reconstruction: Tensor, signal: Tensor) -> Tensor:
        """`[B, C, *signal]` twice, in [-1, 1], to `[B]`. Raises UserError when the weights are missing."""
        net = self._load(signal.device)
        if signal.ndim == 4:
            return net(reconstruction, signal)
        frames = [x.movedim(2, 1).flatten(0, 1) for x in (reconstruction, signal)]
        return net(*frames).view(len(signal), -1).mean(1)

    def _load(self, device: torch.device) -> nn.Module:
        if self._net is None:
            from ..weights import require
            from .lpips import LPIPS

            self._net = LPIPS(require("alexnet_lpips", where="losses.lpips")).eval().requires_grad_(False)
        self._net.to(device)
        return self._net


def log_mel(signal: SignalSpec) -> Term:
    """The log-mel distance at the signal's sample rate."""
    from .stft import log_mel_distance

    mel = MelSpec(sample_rate=int(signal.rate or 16000))
    return lambda reconstruction, target: log_mel_distance(reconstruction, target, mel=mel)
