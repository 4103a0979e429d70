"""Options of the priors of sets: of codes, and of continuous tokens. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ...tokenizers.spec import LatentSpec
from ...tokenizers.training import TrainingConfig
from .config import ARConfig, ClassConditional, FlowConfig, needs_codes

if TYPE_CHECKING:
    from .interface import Prior


@dataclass(frozen=True, kw_only=True)
class SetARConfig(ClassConditional):
    """Autoregressive transformer over sets of codes in ascending order: exact likelihood of a multiset.

    Transformer, depth network and sampling options as in `ar`; codes that would come before the last one are
    impossible. For `classes` see `ClassConditional`.
    """

    name: ClassVar[str] = "set_ar"
    version: ClassVar[int] = 1
    identity_defaults: ClassVar[frozenset[str]] = frozenset()

    width: int = 128
    layers: int = 4
    attention_heads: int = 4
    dropout: float = 0.0
    depth_width: int | None = None
    depth_layers: int = 2
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(steps=2000, lr=2e-3, betas=(0.9, 0.95), weight_decay=0.01)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.sequence_config

    @classmethod
    def unsupported_reason(cls, spec: LatentSpec) -> str | None:
        """One set of codes."""
        return one_set(spec) or needs_codes(spec)

    @property
    def sequence_config(self) -> ARConfig:
        """The `ar` of the sorted sequence."""
        return ARConfig(**_options(self))

    @property
    def protocol(self) -> str:
        """The sampling settings."""
        drawing = f"temperature {self.temperature:g}, top_k {self.top_k}, top_p {self.top_p:g}"
        return f"set_ar v{self.version}, {drawing}{self.conditioning}"

    def forward_flops(self, spec: LatentSpec) -> float:
        """Those of `ar` on a sequence of as many codes."""
        return self.sequence_config.forward_flops(spec)

    def sampling_flops(self, spec: LatentSpec) -> float:
        """One forward pass with a cache; two with guidance."""
        return self.forward_flops(spec) * self.evaluations

    def build(self, spec: LatentSpec) -> Prior:
        """A `SetARPrior`."""
        from .set_ar import SetARPrior

        return SetARPrior(self, spec)


@dataclass(frozen=True, kw_only=True)
class SetFlowConfig(ClassConditional):
    """Rectified flow over sets of continuous tokens, with a transformer that knows no positions.

    Transformer, times and sampler as in `flow`, every position a token. For `classes` see `ClassConditional`.
    """

    name: ClassVar[str] = "set_flow"
    version: ClassVar[int] = 2
    identity_defaults: ClassVar[frozenset[str]] = frozenset()

    width: int = 128
    layers: int = 4
    attention_heads: int = 4
    dropout: float = 0.0
    time_mean: float = 0.0
    time_std: float = 1.0
    sampler: Literal["euler", "heun"] = "euler"
    steps: int = 50
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=2000, lr=1e-3, betas=(0.9, 0.99)))

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.token_config

    @classmethod
    def unsupported_reason(cls, spec: LatentSpec) -> str | None:
        """One set of continuous tokens."""
        return one_set(spec) or ("it models continuous latents, and these are codes" if spec.discrete else None)

    @property
    def token_config(self) -> FlowConfig:
        """The `flow` with one token per position."""
        return FlowConfig(patch=(1,), **_options(self))

    @property
    def protocol(self) -> str:
        """The sampling settings."""
        return f"set_flow v{self.version}, {self.sampler} {self.steps} steps{self.conditioning}"

    def forward_flops(self, spec: LatentSpec) -> float:
        """Those of `flow` with one token per position."""
        return self.token_config.forward_flops(spec)

    def sampling_flops(self, spec: LatentSpec) -> float:
        """All evaluations of the sampler."""
        return self.token_config.sampling_flops(spec)

    def build(self, spec: LatentSpec) -> Prior:
        """A `SetFlowPrior`."""
        from .set_flow import SetFlowPrior

        return SetFlowPrior(self, spec)


def one_set(spec: LatentSpec) -> str | None:
    """Why these latents are not one set of fixed size, or None when they are."""
    if spec.topology != "set":
        return f"it models sets, and these latents are a {spec.topology}"
    return "it models sets of one size, and these vary" if spec.grid.variable else None


def _options(config: SetARConfig | SetFlowConfig) -> dict[str, Any]:
    return {option.name: getattr(config, option.name) for option in fields(config)}
