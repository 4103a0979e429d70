"""A linear shortcut around an autoencoder whose latents are a set: each token carries the name of its place.

The first channels of a token are a name, started as the binary digits of the token's number; the rest are
those of `TokenShortcut`. Decoding puts the tokens back by name, a token softly to each place, and sums: the order in
which they come doesn't matter.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..spec import SignalSpec
from .shortcut import Shortcut
from .token_shortcut import TokenShortcut
from .vit_config import ViTConfig

# Digits are -2 and 2 and contents have unit variance, so that tokens of one name are a cluster, and a digit that fits
# multiplies a place's weight by e^8.
_DIGIT = 2.0
_SHARPNESS = 2.0


class SetShortcut(Shortcut):
    """`[B, C, *signal]` to a set of tokens `[B, latents, n]` and back."""

    def __init__(self, config: ViTConfig, signal: SignalSpec, downsample: tuple[int, ...], latents: int) -> None:
        super().__init__()
        digits = config.digits
        self.inner = inner = TokenShortcut(config, signal, downsample, latents - digits)
        numbers = torch.arange(inner.tokens).unsqueeze(1) >> torch.arange(digits)
        names = (2.0 * (numbers & 1) - 1.0) * _DIGIT
        self.names = nn.Parameter(names)
        self.places = nn.Parameter(names * _SHARPNESS / _DIGIT)
        self.offsets = nn.Parameter(torch.zeros(inner.tokens))

    def encode(self, signal: Tensor) -> Tensor:
        """`[B, C, *signal]` to `[B, latents, n]`, float32."""
        contents = self.inner.encode(signal)
        return torch.cat((self.names.T.expand(len(contents), -1, -1), contents), dim=1)

    def decode(self, values: Tensor) -> Tensor:
        """`[B, latents, n]` to `[B, C, *signal]`, float32."""
        with torch.autocast(values.device.type, enabled=False):
            names, contents = values.float().tensor_split([self.names.shape[1]], dim=1)
            weights = torch.einsum("sd,bdn->bsn", self.places, names) + self.offsets.unsqueeze(1)
            return self.inner.decode(contents @ weights.softmax(1).transpose(1, 2))

    @torch.no_grad()
    def on_train_start(self, signals: Iterable[Tensor], *, whiten: bool) -> None:
        """Starts the contents at the signals' PCA; names stay."""
        self.inner.on_train_start(signals, whiten=whiten)
