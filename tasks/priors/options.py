"""Options that several priors share, with their checks, their part of `protocol` and what they cost. Needs no torch."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from ...tokenizers.spec import LatentSpec, Modality
from ...tokenizers.training import TrainingConfig
from .config import ClassConditional, PriorConfig
from .patches import choose_patch, counts
from .reasons import needs_values, one_fixed_grid


@dataclass(frozen=True, kw_only=True)
class TransformerOptions(PriorConfig):
    """The shape of a transformer: `width`, `layers`, `attention_heads` and `dropout`."""

    # about 0.4, 2.7 and 21 million parameters in an autoregressive trunk, half as many again in a conditioned one
    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "xs": {"width": 96, "layers": 4, "attention_heads": 3},
        "s": {"width": 192, "layers": 6, "attention_heads": 6},
        "m": {"width": 384, "layers": 12, "attention_heads": 6},
    }

    width: int = 128
    layers: int = 4
    attention_heads: int = 4
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.width, self.layers, self.attention_heads) < 1:
            raise ValueError("width, layers and attention_heads must be at least 1")
        if self.width % self.attention_heads or (self.width // self.attention_heads) % 2:
            raise ValueError(f"width must be a multiple of twice the attention_heads ({2 * self.attention_heads})")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must lie in [0, 1)")

    def trunk_flops(self, positions: int, *, causal: bool, layers: int | None = None) -> int:
        """Floating-point operations of `layers` blocks (None: all): linear layers, attention (causal: half of it)."""
        n, d = positions, self.width
        return (self.layers if layers is None else layers) * (24 * n * d * d + (2 if causal else 4) * n * n * d)


@dataclass(frozen=True, kw_only=True)
class SpaceTimeOptions(TransformerOptions):
    """`attention` over all positions ("full"), or "factorised" over those of clips.

    Factorised, blocks attend in turn within a frame and along time at one place of the frame: see `space_time`.
    """

    attention: Literal["full", "factorised"] = "full"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attention == "factorised" and self.layers < 2:
            raise ValueError('attention = "factorised" needs at least 2 layers: within frames, and along time')

    def attention_reason(self, spec: LatentSpec) -> str | None:
        """Factorised, a reason unless the latents have the three axes of a clip."""
        axes = len(spec.grid.shape)
        if self.attention == "full" or axes == 3:
            return None
        return f'its attention is "factorised" over time, height and width, and they have {axes} of these 3 axes'

    def positions_per_frame(self, grid: tuple[int, ...]) -> int | None:
        """The positions of a frame, where blocks tell frames apart; None where they don't."""
        return math.prod(grid[1:]) if self.attention == "factorised" else None

    def clip_flops(self, grid: tuple[int, ...], *, causal: bool, steps: int | None = None) -> int:
        """`trunk_flops` of `steps` (None: as many as `grid` has positions) in raster order of a `grid`, with either
        attention: factorised, what the products of `FrameAttention` and `TimeAttention` cost, of causal ones half."""
        n, d = math.prod(grid) if steps is None else steps, self.width
        frame = self.positions_per_frame(grid)
        if frame is None:
            return self.trunk_flops(n, causal=causal)
        frames = -(-n // frame)
        within = frame * frame * (4 * frames - 2 if causal else 4 * frames)
        along = frame * frames * frames * (2 if causal else 4)
        attention = (self.layers - self.layers // 2) * within + self.layers // 2 * along
        return self.layers * 24 * n * d * d + attention * d


@dataclass(frozen=True, kw_only=True)
class FirstFrameOptions(ClassConditional):
    """A clip's first `condition_frames` latent frames may be given: the prior models the others (0: it models all)."""

    condition_frames: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.condition_frames < 0:
            raise ValueError("condition_frames must be at least 0 (0: none is given)")
        if self.condition_frames and self.classes:
            raise ValueError("condition_frames and classes are two conditions; take one (classes = 0)")

    def frames_reason(self, spec: LatentSpec) -> str | None:
        """A reason where first frames are to be given, unless the latents have frames, and more than are given."""
        if not self.condition_frames:
            return None
        if spec.signal.modality is not Modality.VIDEO or len(spec.grid.shape) != 3:
            return f"its condition_frames are of clips' latents in time, height and width, and they are {_axes(spec)}"
        frames = spec.grid.shape[0]
        if self.condition_frames >= frames:
            return f"its condition_frames ({self.condition_frames}) leave nothing to model of {frames} latent frames"
        return None

    @property
    def protocol(self) -> str:
        """Also how many latent frames are given."""
        count = self.condition_frames
        frames = "latent frame" if count == 1 else f"{count} latent frames"
        return super().protocol + (f", given the first {frames}" if count else "")


def _axes(spec: LatentSpec) -> str:
    return f"{spec.signal.modality} with axes {list(spec.grid.shape)}"


@dataclass(frozen=True, kw_only=True)
class SamplingOptions(PriorConfig):
    """How codes are drawn from logits.

    Logits are divided by `temperature`, then cut to the `top_k` likeliest codes (0: all) and to the smallest set that
    holds `top_p` of the probability (1: all). The defaults sample from the model itself.
    """

    sampling_options: ClassVar[frozenset[str]] = frozenset({"temperature", "top_k", "top_p"})

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature <= 0:
            raise ValueError("temperature must be positive")
        if self.top_k < 0:
            raise ValueError("top_k must be at least 0 (0: all codes)")
        if not 0 < self.top_p <= 1:
            raise ValueError("top_p must lie in (0, 1]")

    @property
    def sampling_settings(self) -> str:
        """How codes are drawn."""
        return f"temperature {self.temperature:g}, top_k {self.top_k}, top_p {self.top_p:g}"


@dataclass(frozen=True, kw_only=True)
class DepthOptions(PriorConfig):
    """The small network that predicts a position's heads in turn: `depth_layers` of `depth_width`.

    Without a `depth_width` it is as wide as what it reads; with one head it is a linear layer, whatever the options.
    """

    depth_width: int | None = None
    depth_layers: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth_layers < 0 or (self.depth_width is not None and self.depth_width < 1):
            raise ValueError("depth_layers must be at least 0 and depth_width at least 1")

    def depth_flops(self, positions: int, width: int, sizes: Sequence[int]) -> float:
        """Floating-point operations at `positions` with summaries of `width`, for codebooks of `sizes`."""
        return depth_flops(positions, width, sizes, self.depth_width or width, self.depth_layers)


def depth_flops(positions: int, width: int, sizes: Sequence[int], inner: int, layers: int) -> float:
    """Floating-point operations of a `DepthHead` at `positions`: codebooks of `sizes`, from `width` through `inner`."""
    if len(sizes) == 1:
        return float(2 * positions * width * sizes[0])
    depth = 2 * positions * width * inner + len(sizes) * positions * layers * 16 * inner * inner
    return float(depth + sum(2 * positions * inner * k for k in sizes))


@dataclass(frozen=True, kw_only=True)
class CodeTransformerOptions(TransformerOptions, DepthOptions, SamplingOptions, ClassConditional):
    """A transformer over codes: its shape, its depth network, sampling, labels and their training."""

    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(steps=2000, lr=2e-3, betas=(0.9, 0.95), weight_decay=0.01)
    )


@dataclass(frozen=True, kw_only=True)
class PatchOptions(PriorConfig):
    """Continuous latents in patches: `patch` positions per axis are one token or one position of the network.

    Without a `patch`, powers of two, so that a sample has at most `most_patches`.
    """

    patch: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patch is not None and (not self.patch or min(self.patch) < 1):
            raise ValueError("patch needs a positive size per axis")
        if self.most_patches < 1:
            raise ValueError("at least 1 token or position is needed")

    @property
    @abstractmethod
    def most_patches(self) -> int:
        """The most patches of a sample where they are not given."""
        raise NotImplementedError

    def unsupported_reason(self, spec: LatentSpec) -> str | None:
        """One grid or sequence of continuous values, of fixed length and of `patch`'s rank."""
        reason = one_fixed_grid(spec) or needs_values(spec)
        if reason is None and self.patch is not None and len(self.patch) != len(spec.grid.shape):
            return f"its patch {list(self.patch)} is not one size per axis of {list(spec.grid.shape)}"
        return reason

    def patch_for(self, spec: LatentSpec) -> tuple[int, ...]:
        """Positions per patch along each axis."""
        return self.patch or choose_patch(spec.grid.shape, self.most_patches)

    def patches_for(self, spec: LatentSpec) -> tuple[int, ...]:
        """Patches along each axis; the last ones are padded where a patch does not divide the axis."""
        return counts(spec.grid.shape, self.patch_for(spec))

    def patch_elements(self, spec: LatentSpec) -> int:
        """Values per patch."""
        return spec.grid.channels * math.prod(self.patch_for(spec))


@dataclass(frozen=True, kw_only=True)
class TokenOptions(PatchOptions):
    """Patches that are a transformer's tokens, at most `max_tokens` where `patch` is not given."""

    max_tokens: int = 256

    @property
    def most_patches(self) -> int:
        """`max_tokens`."""
        return self.max_tokens


@dataclass(frozen=True, kw_only=True)
class TokenTransformerOptions(SpaceTimeOptions, TokenOptions, ClassConditional):
    """A transformer over continuous tokens, and its training."""

    identity_defaults: ClassVar[frozenset[str]] = ClassConditional.identity_defaults | {"attention"}

    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=2000, lr=1e-3, betas=(0.9, 0.95)))

    def unsupported_reason(self, spec: LatentSpec) -> str | None:
        """One grid or sequence of continuous values, of fixed length and of `patch`'s rank; a clip's, factorised."""
        return super().unsupported_reason(spec) or self.attention_reason(spec)


@dataclass(frozen=True, kw_only=True)
class IntegrationOptions(ClassConditional):
    """Sampling in `steps` equal steps of a `sampler`; "heun" evaluates the network twice a step."""

    sampling_options: ClassVar[frozenset[str]] = frozenset({"sampler", "steps"})

    sampler: str = "euler"
    steps: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise ValueError("steps must be at least 1")

    @property
    def sampling_settings(self) -> str:
        """The sampler and its steps."""
        return f"{self.sampler} {self.steps} steps"

    def sampling_flops(self, spec: LatentSpec) -> float:
        """All evaluations of the sampler."""
        return self.forward_flops(spec) * self.steps * self.evaluations * (2 if self.sampler == "heun" else 1)


@dataclass(frozen=True, kw_only=True)
class LikelihoodOptions(IntegrationOptions):
    """`likelihood` adds `nll_ode_bits` to the held-out scores, in `likelihood_steps` Heun steps.

    The divergence is estimated with one "hutchinson" probe, or "exact" (a backward pass per element). The steps' error
    falls as their square: with 100 it is below 0.1 bit for each sample of a Gaussian whose variances span a thousand.
    """

    likelihood: Literal["off", "hutchinson", "exact"] = "off"
    likelihood_steps: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.likelihood_steps < 1:
            raise ValueError("likelihood_steps must be at least 1")
