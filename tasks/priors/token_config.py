"""Options of the priors that predict continuous tokens: GIVT and MAR. Needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from ...tokenizers.spec import LatentSpec
from ...tokenizers.training import TrainingConfig
from .config import ClassConditional, check_transformer, one_fixed_grid
from .patches import check_patch, choose_patch, counts

if TYPE_CHECKING:
    from .interface import Prior


@dataclass(frozen=True, kw_only=True)
class TokenConfig(ClassConditional):
    """A transformer over continuous tokens.

    `width`, `layers`, `attention_heads` and `dropout` shape it. `patch` is how many positions per axis make a token
    (None: powers of two, so that a sample has at most `max_tokens` tokens).
    """

    width: int = 128
    layers: int = 4
    attention_heads: int = 4
    dropout: float = 0.0
    patch: tuple[int, ...] | None = None
    max_tokens: int = 256
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=2000, lr=1e-3, betas=(0.9, 0.95)))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_transformer(self.width, self.layers, self.attention_heads, self.dropout)
        check_patch(self.patch, self.max_tokens)

    @classmethod
    def unsupported_reason(cls, spec: LatentSpec) -> str | None:
        """One grid or sequence of continuous values, of fixed length."""
        return one_fixed_grid(spec) or ("it models continuous latents, and these are codes" if spec.discrete else None)

    def fits(self, spec: LatentSpec) -> None:
        """Raises UserError when `patch` has another rank than the grid."""
        self.patch_for(spec)

    def patch_for(self, spec: LatentSpec) -> tuple[int, ...]:
        """Positions per token along each axis."""
        return choose_patch(spec.grid.shape, self.patch, self.max_tokens, name=self.name)

    def tokens_for(self, spec: LatentSpec) -> tuple[int, ...]:
        """Tokens along each axis; the last ones are padded where a patch does not divide the axis."""
        return counts(spec.grid.shape, self.patch_for(spec))

    def token_elements(self, spec: LatentSpec) -> int:
        """Values per token."""
        return spec.grid.channels * math.prod(self.patch_for(spec))


@dataclass(frozen=True, kw_only=True)
class GIVTConfig(TokenConfig):
    """Causal transformer whose outputs are mixtures of diagonal Gaussians, `mixtures` of them (Tschannen et al. 2023).

    No deviation is under `min_scale`, which bounds the density of latents that repeat. Sampling multiplies deviations
    by `temperature`.
    """

    name: ClassVar[str] = "givt"
    version: ClassVar[int] = 2

    mixtures: int = 16
    min_scale: float = 1e-3
    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mixtures < 1 or self.min_scale <= 0:
            raise ValueError("mixtures must be at least 1 and min_scale positive")
        if self.temperature <= 0:
            raise ValueError("temperature must be positive")
        if self.guidance != 1:
            raise ValueError("givt can't be guided: two mixtures have no guided mixture; take flow, unet or mar")

    @property
    def protocol(self) -> str:
        """The sampling settings."""
        return f"givt v{self.version}, temperature {self.temperature:g}{self.conditioning}"

    def forward_flops(self, spec: LatentSpec) -> float:
        """Linear layers, attention (causal: half of it) and the mixtures of one sample."""
        n, d, p = math.prod(self.tokens_for(spec)), self.width, self.token_elements(spec)
        trunk = self.layers * (24 * n * d * d + 2 * n * n * d)
        return float(trunk + 2 * (n - 1) * p * d + 2 * n * d * self.mixtures * (1 + 2 * p))

    def build(self, spec: LatentSpec) -> Prior:
        """A `GIVTPrior`."""
        from .givt import GIVTPrior

        return GIVTPrior(self, spec)


@dataclass(frozen=True, kw_only=True)
class MARConfig(TokenConfig):
    """Transformer that a small flow reads to draw each token (MAR, Li et al. 2024).

    `order` "random" predicts masked tokens with full attention, in `iterations` rounds of a random order per sample;
    "raster" one after the other with causal attention. The head is an MLP of `head_layers` residual blocks of
    `head_width` (None: the transformer's); training shows it each token at `repeats` times; sampling takes
    `head_steps` Euler steps per token.
    """

    name: ClassVar[str] = "mar"
    version: ClassVar[int] = 3

    order: Literal["random", "raster"] = "random"
    iterations: int = 16
    head_width: int | None = None
    head_layers: int = 3
    head_steps: int = 25
    repeats: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.iterations, self.head_layers, self.head_steps, self.repeats, self.head_width or 1) < 1:
            raise ValueError("iterations, head_width, head_layers, head_steps and repeats must be at least 1")

    @property
    def protocol(self) -> str:
        """The sampling settings."""
        rounds = f" {self.iterations} iterations" if self.order == "random" else ""
        return f"mar v{self.version}, {self.order}{rounds}, euler {self.head_steps} steps{self.conditioning}"

    def forward_flops(self, spec: LatentSpec) -> float:
        """One pass of the transformer, and of the head `repeats` times per token."""
        n = math.prod(self.tokens_for(spec))
        return self._trunk(spec) + self.repeats * n * self._head(spec)

    def sampling_flops(self, spec: LatentSpec) -> float:
        """All passes: of the transformer one per iteration (one in all with a cache), of the head one per step."""
        passes = 1 if self.order == "raster" else self.iterations
        head = math.prod(self.tokens_for(spec)) * self.head_steps * self._head(spec)
        return self.evaluations * (passes * self._trunk(spec) + head)

    def _trunk(self, spec: LatentSpec) -> float:
        n, d, p = math.prod(self.tokens_for(spec)), self.width, self.token_elements(spec)
        if self.order == "raster":
            return float(self.layers * (24 * n * d * d + 2 * n * n * d) + 2 * (n - 1) * p * d)
        return float(self.layers * (24 * (n + 1) * d * d + 4 * (n + 1) ** 2 * d) + 2 * n * p * d)

    def _head(self, spec: LatentSpec) -> float:
        w, p = self.head_width or self.width, self.token_elements(spec)
        inputs = 2 * (p * w + self.width * w + 256 * w + w * w)
        return float(inputs + self.head_layers * (16 * w * w + 6 * w * w) + 4 * w * w + 2 * w * p)

    def build(self, spec: LatentSpec) -> Prior:
        """A `MARPrior`."""
        from .mar import MARPrior

        return MARPrior(self, spec)
