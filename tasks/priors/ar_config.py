"""Options of the autoregressive transformer. Needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from ...tokenizers.spec import LatentSpec
from .config import ClassConditional
from .options import CodeTransformerOptions, FirstFrameOptions, SpaceTimeOptions
from .reasons import needs_codes, one_ordered_grid


@dataclass(frozen=True, kw_only=True)
class ARConfig(CodeTransformerOptions, SpaceTimeOptions, FirstFrameOptions):
    """Autoregressive transformer over codes, position after position, the heads of a position one after the other.

    `width`, `layers`, `attention_heads` and `dropout` shape the trunk; `depth_width` and `depth_layers` the small
    network that predicts a position's heads in turn (None: as wide as the trunk; unused with one head). `positions` is
    how it knows where it is: "learned" embeddings per axis or "rotary" angles per axis. `order` is "raster", all heads
    of a position before the next, or "delay", head j a position behind head j - 1 and one step per position (as in
    MusicGen; the codes of a step are assumed independent; see `ar.py`). `attention` as in `SpaceTimeOptions`,
    `condition_frames` in `FirstFrameOptions`, `temperature`, `top_k` and `top_p` in `SamplingOptions`, labels in
    `ClassConditional`.
    """

    kind: ClassVar[str] = "ar"
    version: ClassVar[int] = 2
    identity_defaults: ClassVar[frozenset[str]] = ClassConditional.identity_defaults | {
        "attention",
        "condition_frames",
        "order",
    }
    builds: ClassVar[str | type] = "ar:ARPrior"
    reports = ("nll_bits", "nll_bits_per_element")

    positions: Literal["learned", "rotary"] = "learned"
    order: Literal["raster", "delay"] = "raster"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.condition_frames and self.order == "delay":
            raise ValueError('condition_frames needs order = "raster": in delay order no step ends the given frames')

    def unsupported_reason(self, spec: LatentSpec) -> str | None:
        """One grid of codes, or a sequence of fixed or varying length."""
        reason = one_ordered_grid(spec) or needs_codes(spec)
        if reason is None and spec.grid.variable and spec.grid.topology != "sequence":
            return "of varying length it models sequences alone, and these latents are a grid"
        return reason or self.attention_reason(spec) or self.frames_reason(spec)

    @property
    def sampling_settings(self) -> str:
        """An order other than raster, and how codes are drawn."""
        order = "" if self.order == "raster" else f"{self.order} order, "
        return order + super().sampling_settings

    def forward_flops(self, spec: LatentSpec) -> float:
        """Transformer and heads of one sample (of the greatest length); no heads where codes are given."""
        sizes = list(spec.grid.codebook_sizes)
        lag = len(sizes) - 1 if self.order == "delay" else 0
        n, d = spec.grid.positions + lag, self.width
        sizes[0] += spec.grid.variable
        trunk = self.clip_flops(spec.grid.shape, causal=True, steps=n)
        predicted = n - self.condition_frames * math.prod(spec.grid.shape[1:])
        return float(trunk + (2 * n * d * sum(sizes) if lag else self.depth_flops(predicted, d, sizes)))
