"""Options of the rectified flow. Needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from ...tokenizers.spec import LatentSpec
from ...tokenizers.training import TrainingConfig
from .config import ClassConditional
from .options import (
    FirstFrameOptions,
    IntegrationOptions,
    LikelihoodOptions,
    SpaceTimeOptions,
    TokenOptions,
    TransformerOptions,
)

TIME_FEATURES = 256


@dataclass(frozen=True, kw_only=True)
class FlowOptions(TransformerOptions, IntegrationOptions):
    """A rectified flow's transformer, times, sampler and training."""

    time_mean: float = 0.0
    time_std: float = 1.0
    sampler: Literal["euler", "heun"] = "euler"
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=2000, lr=1e-3, betas=(0.9, 0.99)))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.time_std <= 0:
            raise ValueError("time_std must be positive")


@dataclass(frozen=True, kw_only=True)
class FlowConfig(FlowOptions, TokenOptions, LikelihoodOptions, SpaceTimeOptions, FirstFrameOptions):
    """Rectified flow with a diffusion transformer (DiT) over continuous latents.

    `width`, `layers`, `attention_heads` and `dropout` shape the transformer, `attention` as in `SpaceTimeOptions`.
    `patch` is how many positions per axis make a token (None: powers of two, so that a sample has at most `max_tokens`
    tokens). Training times are
    logit-normal with `time_mean` and `time_std`. Sampling integrates from noise to data in `steps` equal steps with
    the Euler or Heun method (two evaluations a step). `likelihood` adds `nll_ode_bits` to the held-out scores, in
    `likelihood_steps` Heun steps: with one "hutchinson" probe, or "exact" (a backward pass per element). Labels as in
    `ClassConditional`, `condition_frames` in `FirstFrameOptions`.
    """

    kind: ClassVar[str] = "flow"
    version: ClassVar[int] = 3
    identity_defaults: ClassVar[frozenset[str]] = ClassConditional.identity_defaults | {
        "attention",
        "condition_frames",
        "likelihood",
        "likelihood_steps",
    }
    builds: ClassVar[str | type] = "flow:FlowPrior"
    reports = ("flow_loss", "nll_ode_bits")

    def unsupported_reason(self, spec: LatentSpec) -> str | None:
        """One grid or sequence of continuous values, of fixed length and of `patch`'s rank; a clip's, factorised."""
        return super().unsupported_reason(spec) or self.attention_reason(spec) or self.frames_reason(spec)

    def forward_flops(self, spec: LatentSpec) -> float:
        """Transformer, conditioning and patch projections of one sample."""
        n, d = math.prod(self.patches_for(spec)), self.width
        patch = 2 * 2 * n * d * self.patch_elements(spec)
        condition = 2 * (TIME_FEATURES * d + d * d) + 2 * d * (self.layers * 6 * d + 2 * d)
        return float(self.clip_flops(self.patches_for(spec), causal=False) + patch + condition)
