"""Configuration of the loss balancer. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .config import AuxiliaryObjectiveConfig, TokenizerParts


@dataclass(frozen=True, kw_only=True)
class BalancerConfig(AuxiliaryObjectiveConfig):
    """Fixes each loss's share of the gradient at the reconstruction (EnCodec, Défossez et al. 2022, eq. 5).

    `terms` names losses of the objective, "adversary" or "feature_matching", and `shares` their shares λ. The gradient
    of each term at the reconstruction becomes `weight` x λ / Σλ of a unit vector: it is divided by a moving average, by
    `decay`, of its own norm. So the terms' own weights no longer matter. Losses that are not named stay as they are.
    """

    kind: ClassVar[str] = "balancer"
    version: ClassVar[int] = 1
    builds = "balancer:Balancer"

    terms: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    decay: float = 0.999

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.terms or len(set(self.terms)) < len(self.terms):
            raise ValueError("terms must be one or more losses, each once")
        if len(self.shares) != len(self.terms) or min(self.shares) <= 0:
            raise ValueError(f"shares must be {len(self.terms)} numbers above 0, one for each of terms")
        if not 0 <= self.decay < 1:
            raise ValueError("decay must lie in [0, 1)")

    def unsupported_reason(self, tokenizer: TokenizerParts) -> str | None:
        known = [loss.kind for loss in tokenizer.losses if loss.weight]
        for objective in tokenizer.auxiliary_objectives:
            if objective.kind == "adversary":
                known += ["adversary", *(["feature_matching"] if getattr(objective, "feature_matching", 0) else [])]
        for name in self.terms:
            if name not in known:
                return f"terms: this tokenizer has no loss {name!r}, but {', '.join(known)}"
        if tokenizer.diffusion_decoder is not None:
            return "it balances losses of a reconstruction, and a diffusion decoder makes none in training"
        return None
