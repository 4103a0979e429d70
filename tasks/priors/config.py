"""Priors by name: their options, which latents each can model, and what they cost. Needs no torch."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ...results.errors import UserError
from ...tokenizers.registry import Registry
from ...tokenizers.spec import LatentSpec
from ...tokenizers.training import TrainingConfig
from ...tokenizers.validation import check

if TYPE_CHECKING:
    from .interface import Prior


@dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """The options of one prior. A subclass adds its own, and says what it can model, what it costs and how it is built.

    `name` is the registered name; `version` counts changes that move numbers; `training` is the training budget.
    """

    name: ClassVar[str]
    version: ClassVar[int]

    training: TrainingConfig = field(default_factory=TrainingConfig)

    @classmethod
    @abstractmethod
    def refusal(cls, spec: LatentSpec) -> str | None:
        """Why these latents can't be modelled ("it models codes"), or None when they can."""
        raise NotImplementedError

    @property
    @abstractmethod
    def protocol(self) -> str:
        """One line with the sampling settings: what must agree before samples' scores may be compared."""
        raise NotImplementedError

    @abstractmethod
    def forward_flops(self, spec: LatentSpec) -> float:
        """Floating-point operations of one forward pass for one sample (a multiply-add is two)."""
        raise NotImplementedError

    def sampling_flops(self, spec: LatentSpec) -> float:
        """Floating-point operations to draw one sample; by default one forward pass."""
        return self.forward_flops(spec)

    @abstractmethod
    def build(self, spec: LatentSpec) -> Prior:
        """The untrained prior for these latents; imports torch. Raises UserError where the options don't suit them."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ARConfig(PriorConfig):
    """Autoregressive transformer over codes, position after position, the heads of a position one after the other.

    `width`, `layers`, `attention_heads` and `dropout` shape the trunk; `depth_width` and `depth_layers` the small
    network that predicts a position's heads in turn (None: as wide as the trunk; unused with one head). `positions` is
    how it knows where it is: "learned" embeddings per axis or "rotary" angles per axis. Sampling: logits divided by
    `temperature`, then cut to the `top_k` likeliest codes (0: all) and to the smallest set that holds `top_p` of the
    probability (1: all). The defaults sample from the model itself.
    """

    name: ClassVar[str] = "ar"
    version: ClassVar[int] = 1

    width: int = 128
    layers: int = 4
    attention_heads: int = 4
    dropout: float = 0.0
    depth_width: int | None = None
    depth_layers: int = 2
    positions: Literal["learned", "rotary"] = "learned"
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(steps=2000, lr=2e-3, betas=(0.9, 0.95), weight_decay=0.01)
    )

    def __post_init__(self) -> None:
        _check_transformer(self.width, self.layers, self.attention_heads, self.dropout)
        if self.depth_layers < 0 or (self.depth_width is not None and self.depth_width < 1):
            raise ValueError("depth_layers must be at least 0 and depth_width at least 1")
        if self.temperature <= 0:
            raise ValueError("temperature must be positive")
        if self.top_k < 0:
            raise ValueError("top_k must be at least 0 (0: all codes)")
        if not 0 < self.top_p <= 1:
            raise ValueError("top_p must lie in (0, 1]")

    @classmethod
    def refusal(cls, spec: LatentSpec) -> str | None:
        """One grid or sequence of codes, of fixed length."""
        return _one_fixed_grid(spec) or (None if spec.discrete else "it models codes, and these latents are continuous")

    @property
    def protocol(self) -> str:
        """The sampling settings."""
        return f"ar v{self.version}, temperature {self.temperature:g}, top_k {self.top_k}, top_p {self.top_p:g}"

    def forward_flops(self, spec: LatentSpec) -> float:
        """Linear layers, attention (causal: half of it) and heads of one sample."""
        grid = spec.grid
        n, d = grid.positions, self.width
        trunk = self.layers * (24 * n * d * d + 2 * n * n * d)
        if grid.heads == 1:
            return float(trunk + 2 * n * d * grid.codebook_sizes[0])
        inner = self.depth_width or d
        depth = 2 * n * d * inner + grid.heads * n * self.depth_layers * 16 * inner * inner
        return float(trunk + depth + sum(2 * n * inner * k for k in grid.codebook_sizes))

    def build(self, spec: LatentSpec) -> Prior:
        """An `ARPrior`."""
        from .ar import ARPrior

        return ARPrior(self, spec)


@dataclass(frozen=True, kw_only=True)
class FlowConfig(PriorConfig):
    """Rectified flow with a diffusion transformer (DiT) over continuous latents.

    `width`, `layers`, `attention_heads` and `dropout` shape the transformer. `patch` is how many positions per axis
    make a token (None: powers of two, so that a sample has at most `max_tokens` tokens). Training times are
    logit-normal with `time_mean` and `time_std`. Sampling integrates from noise to data in `steps` equal steps with
    the Euler or Heun method (two evaluations a step).
    """

    name: ClassVar[str] = "flow"
    version: ClassVar[int] = 1

    width: int = 128
    layers: int = 4
    attention_heads: int = 4
    dropout: float = 0.0
    patch: tuple[int, ...] | None = None
    max_tokens: int = 256
    time_mean: float = 0.0
    time_std: float = 1.0
    sampler: Literal["euler", "heun"] = "euler"
    steps: int = 50
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=2000, lr=1e-3, betas=(0.9, 0.99)))

    def __post_init__(self) -> None:
        _check_transformer(self.width, self.layers, self.attention_heads, self.dropout)
        if self.patch is not None and (not self.patch or min(self.patch) < 1):
            raise ValueError("patch needs a positive size per axis")
        if self.max_tokens < 1:
            raise ValueError("max_tokens must be at least 1")
        if self.steps < 1:
            raise ValueError("steps must be at least 1")
        if self.time_std <= 0:
            raise ValueError("time_std must be positive")

    @classmethod
    def refusal(cls, spec: LatentSpec) -> str | None:
        """One grid or sequence of continuous values, of fixed length."""
        return _one_fixed_grid(spec) or ("it models continuous latents, and these are codes" if spec.discrete else None)

    @property
    def protocol(self) -> str:
        """The sampling settings."""
        return f"flow v{self.version}, {self.sampler} {self.steps} steps"

    def patch_for(self, spec: LatentSpec) -> tuple[int, ...]:
        """Positions per token along each axis. Raises UserError when `patch` has another rank than the grid."""
        shape = spec.grid.shape
        if self.patch is not None:
            if len(self.patch) != len(shape):
                raise UserError(f"prior flow: patch {list(self.patch)} has {len(self.patch)} axes, the latents {shape}")
            return self.patch
        patch = [1] * len(shape)
        while math.prod(self._tokens(shape, patch)) > self.max_tokens:
            tokens = self._tokens(shape, patch)
            patch[tokens.index(max(tokens))] *= 2
        return tuple(patch)

    def tokens_for(self, spec: LatentSpec) -> tuple[int, ...]:
        """Tokens along each axis; the last ones are padded where a patch does not divide the axis."""
        return tuple(self._tokens(spec.grid.shape, self.patch_for(spec)))

    @staticmethod
    def _tokens(shape: tuple[int, ...], patch: tuple[int, ...] | list[int]) -> list[int]:
        return [-(-size // step) for size, step in zip(shape, patch, strict=True)]

    def forward_flops(self, spec: LatentSpec) -> float:
        """Linear layers, attention, conditioning and patch projections of one sample."""
        n, d = math.prod(self.tokens_for(spec)), self.width
        patch = 2 * 2 * n * d * spec.grid.channels * math.prod(self.patch_for(spec))
        condition = 2 * (256 * d + d * d) + 2 * d * (self.layers * 6 * d + 2 * d)
        return float(self.layers * (24 * n * d * d + 4 * n * n * d) + patch + condition)

    def sampling_flops(self, spec: LatentSpec) -> float:
        """All evaluations of the sampler."""
        return self.forward_flops(spec) * self.steps * (2 if self.sampler == "heun" else 1)

    def build(self, spec: LatentSpec) -> Prior:
        """A `FlowPrior`."""
        from .flow import FlowPrior

        return FlowPrior(self, spec)


def _check_transformer(width: int, layers: int, heads: int, dropout: float) -> None:
    if min(width, layers, heads) < 1:
        raise ValueError("width, layers and attention_heads must be at least 1")
    if width % heads or (width // heads) % 2:
        raise ValueError(f"width must be a multiple of twice the attention_heads ({2 * heads})")
    if not 0 <= dropout < 1:
        raise ValueError("dropout must lie in [0, 1)")


def _one_fixed_grid(spec: LatentSpec) -> str | None:
    if len(spec.grids) > 1:
        return f"it models one grid, and these latents are a hierarchy of {len(spec.grids)}"
    if spec.grid.topology == "set":
        return "it models ordered positions, and these latents are a set"
    if spec.grid.variable:
        return "it models latents of fixed length, and these vary"
    return None


priors = Registry(
    "prior",
    "latentbench.priors",
    {"ar": "tasks.priors.config:ARConfig", "flow": "tasks.priors.config:FlowConfig"},
)

_PREFERRED = ("ar", "flow")


def choose(spec: LatentSpec, name: str | None = None, *, where: str = "") -> str:
    """The prior for these latents: the first that can model them, or `name` when it can.

    Raises UserError for an unknown name, and for one that can't model the latents, naming those that can.
    """
    if name is not None:
        reason = priors.get(name, where=where).refusal(spec)
        if reason is None:
            return name
    able = [n for n in (*_PREFERRED, *(m for m in priors.names() if m not in _PREFERRED)) if _able(n, spec)]
    if name is None and able:
        return able[0]
    prefix = f"{where}: " if where else ""
    what = f"prior {name!r} can't model these latents: {reason}" if name is not None else "no prior for these latents"
    raise UserError(f"{prefix}{what}; {'can: ' + ', '.join(able) if able else 'no known prior can'}")


def _able(name: str, spec: LatentSpec) -> bool:
    return priors.get(name).refusal(spec) is None


def resolve_prior(name: str, options: Mapping[str, Any], spec: LatentSpec, *, where: str) -> PriorConfig:
    """The checked configuration of prior `name` ("auto": chosen by the latents' kind) for these latents.

    `options` is plain data from a suite. Raises UserError that starts with `where` on an unknown prior or option, a
    wrong type, or a prior that can't model the latents.
    """
    name = choose(spec, None if name == "auto" else name, where=where)
    config: PriorConfig = check(priors.get(name), options, where=where)
    if isinstance(config, FlowConfig):
        config.patch_for(spec)
    return config


def estimate_flops(config: PriorConfig, spec: LatentSpec) -> float:
    """Floating-point operations of one training step's share of one sample: forward and backward, 3 x forward."""
    return 3.0 * config.forward_flops(spec)
