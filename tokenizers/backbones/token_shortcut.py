"""A linear shortcut around an autoencoder without a grid: the whole signal to tokens and back, started at its PCA.

Patches keep their first principal components, which bounds the size of what follows: principal components of the whole
signal, dealt out to the tokens in turn, strongest first, so that every token gets strong and weak ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..bottlenecks.linear import principal_components
from ..geometry import grid_shape
from ..spec import SignalSpec
from .patch import depth_to_space, space_to_depth
from .shortcut import SAMPLES, Shortcut, first
from .vit_config import ViTConfig


class TokenShortcut(Shortcut):
    """`[B, C, *signal]` to n tokens `[B, latents, n]` and back, through the patches' first principal components."""

    def __init__(self, config: ViTConfig, signal: SignalSpec, downsample: tuple[int, ...], latents: int) -> None:
        super().__init__()
        if config.tokens is None:
            raise ValueError("without tokens the latents lie on the grid of patches, whose shortcut is LinearShortcut")
        self.grid, self.factors = grid_shape(signal, downsample), downsample
        self.tokens, self.latents = config.tokens, latents
        components = config.shortcut_components(signal, downsample)
        elements = signal.channels * math.prod(downsample)
        patches = math.prod(self.grid)
        whole = components == elements  # nothing to bound: no layers of its own for the patches
        self.patch_down = None if whole else nn.Linear(elements, components)
        self.patch_up = None if whole else nn.Linear(components, elements)
        self.down = nn.Linear(patches * components, self.tokens * latents)
        self.up = nn.Linear(self.tokens * latents, patches * components)

    def encode(self, signal: Tensor) -> Tensor:
        """`[B, C, *signal]` to `[B, latents, n]`, float32."""
        with torch.autocast(signal.device.type, enabled=False):
            return self.down(self._rows(signal.float())).unflatten(1, (self.latents, self.tokens))

    def decode(self, values: Tensor) -> Tensor:
        """`[B, latents, n]` to `[B, C, *signal]`, float32."""
        with torch.autocast(values.device.type, enabled=False):
            patches = self.up(values.float().flatten(1)).unflatten(1, (math.prod(self.grid), -1))
            patches = patches if self.patch_up is None else self.patch_up(patches)
            return depth_to_space(patches.transpose(1, 2).unflatten(2, self.grid), self.factors)

    @torch.no_grad()
    def on_train_start(self, signals: Iterable[Tensor], *, whiten: bool) -> None:
        """Sets all matrices to the PCA of the first `SAMPLES` signals.

        With `whiten` every latent has unit variance; else each token's are divided by one number, so that tokens are
        alike in size and share a codebook. Latents beyond the signals' rank start at zero.
        """
        if self.patch_down is not None and self.patch_up is not None:
            patches = (space_to_depth(x.float(), self.factors) for x in first(signals, SAMPLES))
            mean, components, _ = principal_components(patches, self.patch_down.out_features)
            _set(self.patch_down, components, -(components @ mean))
            _set(self.patch_up, components.T, mean)
        rank = min(self.down.out_features, self.down.in_features)
        rows = (self._rows(x.float()).unsqueeze(2) for x in first(signals, SAMPLES))
        mean, components, variances = principal_components(rows, rank)
        variances = variances.clamp_min(1e-8 * max(float(variances[0]), 1e-12))
        if not whiten:
            numbers = torch.arange(rank, device=variances.device) % self.tokens
            sums = variances.new_zeros(self.tokens).index_add_(0, numbers, variances)
            variances = (sums / self.latents)[numbers]
        deviations = variances.sqrt().unsqueeze(1)
        for layer in (self.down, self.up):
            for parameter in layer.parameters():
                parameter.zero_()
        # Latents lie channel after channel: component i becomes channel i // n of token i % n.
        self.down.weight[:rank] = (components / deviations).to(self.down.weight.dtype)
        self.down.bias[:rank] = -((components / deviations) @ mean).to(self.down.bias.dtype)
        self.up.weight[:, :rank] = (components * deviations).T.to(self.up.weight.dtype)
        self.up.bias.copy_(mean)

    def _rows(self, signal: Tensor) -> Tensor:
        """`[B, C, *signal]` to the patches' principal components, `[B, patches x components]`."""
        patches = space_to_depth(signal, self.factors).flatten(2).transpose(1, 2)
        return (patches if self.patch_down is None else self.patch_down(patches)).flatten(1)


def _set(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
