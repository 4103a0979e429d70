"""Options of masked prediction. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ...tokenizers.spec import LatentSpec
from .options import CodeTransformerOptions, SpaceTimeOptions
from .reasons import needs_codes, one_fixed_grid


@dataclass(frozen=True, kw_only=True)
class MaskGITConfig(CodeTransformerOptions, SpaceTimeOptions):
    """Masked prediction with a bidirectional transformer (MaskGIT; Chang et al. 2022) over one grid of codes.

    Transformer, `positions` and depth network as in `ar`; whole positions are masked, all heads together. Sampling
    starts from nothing and reveals positions in `steps` rounds, the most confident first, on a cosine schedule;
    `choice_temperature` is the weight of Gumbel noise on that confidence, falling to zero over the rounds; codes are
    drawn with `temperature`, `top_k` and `top_p`. `attention` as in `SpaceTimeOptions`, labels in `ClassConditional`.
    """

    kind: ClassVar[str] = "maskgit"
    version: ClassVar[int] = 3
    batch_coupled: ClassVar[str | None] = "its loss is a mean over the masked positions of a batch"
    over_ranks: ClassVar[bool] = True
    identity_defaults: ClassVar[frozenset[str]] = frozenset({"attention"})
    sampling_options: ClassVar[frozenset[str]] = frozenset({"steps", "choice_temperature"})
    builds: ClassVar[str | type] = "maskgit:MaskGITPrior"
    reports = ("nll_bound_bits",)

    positions: Literal["learned", "rotary"] = "learned"
    steps: int = 8
    choice_temperature: float = 4.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise ValueError("steps must be at least 1")
        if self.choice_temperature < 0:
            raise ValueError("choice_temperature must be at least 0")

    def unsupported_reason(self, spec: LatentSpec) -> str | None:
        """One grid or sequence of codes, of fixed length; a clip's, factorised."""
        return one_fixed_grid(spec) or needs_codes(spec) or self.attention_reason(spec)

    @property
    def sampling_settings(self) -> str:
        """The rounds, and how codes are drawn."""
        rounds = f"{self.steps} steps, choice temperature {self.choice_temperature:g}"
        return f"{rounds}, {super().sampling_settings}"

    def forward_flops(self, spec: LatentSpec) -> float:
        """Transformer and heads of one sample."""
        n, d = spec.grid.positions, self.width
        return float(self.clip_flops(spec.grid.shape, causal=False) + self.depth_flops(n, d, spec.grid.codebook_sizes))

    def sampling_flops(self, spec: LatentSpec) -> float:
        """At most a forward pass per round (the heads run on masked positions alone); two with guidance."""
        return self.forward_flops(spec) * min(self.steps, spec.grid.positions) * self.evaluations
