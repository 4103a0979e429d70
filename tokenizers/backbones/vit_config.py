"""Configuration of the vision transformer backbone, with and without a latent grid. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from .. import cost
from ..cost import Cost
from ..geometry import Layout, grid_shape
from ..spec import SignalSpec
from .config import BackboneConfig

# The linear shortcut of learned tokens mixes at most this many principal components of the patches of a signal.
SHORTCUT_INPUTS = 1024


@dataclass(frozen=True, kw_only=True)
class ViTConfig(BackboneConfig):
    """A transformer over patches of the downsampling's size, for signals of any rank (Dosovitskiy et al. 2020).

    `layers` pre-norm blocks on either side are `width` wide, with `attention_heads` and an MLP of `mlp_ratio` x width.
    `positions` of the patches are "learned" (an embedding per axis) or "rotary" (angles per axis).

    Without `tokens` the features lie on the grid of patches. With `tokens` = n, n learned latent tokens join the
    patches in the encoder and alone leave it (TiTok; Yu et al. 2024): n features in a row, whatever the patches are.
    The decoder reads them together with one query per patch. With `topology` "set" it does not know their order.

    With `shortcut` a linear autoencoder runs around either half, started at PCA (of patches; with tokens, of the whole
    signal), and the halves start at zero, as in `conv`. Tokens of a set spend a few channels on a name that tells them
    apart; with too few channels for that they have no shortcut.
    """

    kind: ClassVar[str] = "vit"
    version: ClassVar[int] = 1
    encoder: ClassVar[str | type] = "vit:ViTEncoder"
    decoder: ClassVar[str | type] = "vit:ViTDecoder"
    shortcut_target: ClassVar[str | type] = "vit:vit_shortcut"

    width: int = 64
    layers: int = 3
    attention_heads: int = 4
    mlp_ratio: float = 4.0
    tokens: int | None = None
    topology: Literal["sequence", "set"] = "sequence"
    positions: Literal["learned", "rotary"] = "learned"
    shortcut: bool = True

    def __post_init__(self) -> None:
        if min(self.width, self.layers, self.attention_heads) < 1:
            raise ValueError("width, layers and attention_heads must be at least 1")
        if self.width % self.attention_heads or (self.width // self.attention_heads) % 2:
            raise ValueError(f"width must be a multiple of twice the attention_heads ({2 * self.attention_heads})")
        if not math.isfinite(self.mlp_ratio) or self.inner < 1:
            raise ValueError("mlp_ratio x width must be at least 1")
        if self.tokens is not None and self.tokens < 1:
            raise ValueError("tokens must be at least 1 (leave it out for features on the grid of patches)")
        if self.topology == "set" and self.tokens is None:
            raise ValueError('topology "set" needs tokens: patches on a grid have an order')

    @property
    def inner(self) -> int:
        """Width inside an MLP."""
        return round(self.mlp_ratio * self.width)

    def has_shortcut(self) -> bool:
        return self.shortcut

    def layout(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Layout:
        shape = grid_shape(signal, downsample)
        pairs = self.width // self.attention_heads // 2
        if self.positions == "rotary" and pairs < len(shape):
            raise ValueError(
                f'positions "rotary" turn a pair of channels per axis: {pairs} per head (width {self.width}, '
                f"{self.attention_heads} attention_heads) are too few for {len(shape)} axes"
            )
        return Layout(shape=shape) if self.tokens is None else Layout(shape=(self.tokens,), topology=self.topology)

    def features(self, signal: SignalSpec, downsample: tuple[int, ...]) -> int:
        return self.width

    @property
    def digits(self) -> int:
        """Channels that the name of a set's token takes: the binary digits of the last one's number."""
        return (self.tokens - 1).bit_length() if self.tokens is not None and self.topology == "set" else 0

    def shortcut_components(self, signal: SignalSpec, downsample: tuple[int, ...]) -> int:
        """Principal components of each patch that the shortcut of learned tokens mixes."""
        elements, patches = self._patches(signal, downsample)
        return max(1, min(elements, SHORTCUT_INPUTS // patches))

    def encoder_cost(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Cost:
        elements, patches = self._patches(signal, downsample)
        learned = Cost(parameters=(self.tokens or 0) * self.width)
        embed = cost.pointwise(elements, self.width, (patches,))
        return learned + embed + self._positions_cost(signal, downsample) + self._blocks_cost(patches)

    def decoder_cost(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Cost:
        elements, patches = self._patches(signal, downsample)
        learned = 0 if self.tokens is None else 1 + (self.tokens if self.topology == "sequence" else 0)
        head = cost.pointwise(self.width, elements, (patches,))
        positions = self._positions_cost(signal, downsample)
        return Cost(parameters=learned * self.width) + head + positions + self._blocks_cost(patches)

    def shortcut_cost(self, signal: SignalSpec, downsample: tuple[int, ...], latents: int) -> Cost:
        if self.tokens is None:
            return super().shortcut_cost(signal, downsample, latents)
        elements, patches = self._patches(signal, downsample)
        if latents <= self.digits:
            return Cost()
        components, rows = self.shortcut_components(signal, downsample), self.tokens * (latents - self.digits)
        total = cost.pointwise(patches * components, rows, (1,)) + cost.pointwise(rows, patches * components, (1,))
        if self.topology == "set":
            names = Cost(parameters=self.tokens * (2 * self.digits + 1))
            total += names + Cost(flops=2.0 * self.tokens**2 * latents)
        if components < elements:
            total += cost.pointwise(elements, components, (patches,)) + cost.pointwise(components, elements, (patches,))
        return total

    def _patches(self, signal: SignalSpec, downsample: tuple[int, ...]) -> tuple[int, int]:
        """Elements of a patch, and how many patches there are."""
        return signal.channels * math.prod(downsample), math.prod(grid_shape(signal, downsample))

    def _positions_cost(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Cost:
        axes = sum(grid_shape(signal, downsample)) if self.positions == "learned" else 0
        return Cost(parameters=axes * self.width)

    def _blocks_cost(self, patches: int) -> Cost:
        n, d = patches + (self.tokens or 0), self.width
        norm = Cost(parameters=d)
        attention = Cost(parameters=4 * d * d, flops=8.0 * n * d * d + 4.0 * n * n * d)
        mlp = cost.pointwise(d, self.inner, (n,)) + cost.pointwise(self.inner, d, (n,))
        total = norm
        for _ in range(self.layers):
            total += norm + attention + norm + mlp
        return total
