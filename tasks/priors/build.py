"""From a prior's configuration to the prior."""

from __future__ import annotations

from ...results.errors import UserError
from ...tokenizers.spec import LatentSpec
from .config import PriorConfig
from .interface import Prior


def build_prior(config: PriorConfig, spec: LatentSpec) -> Prior:
    """The untrained prior of `config` for the latents `spec`. Raises UserError when it can't model them."""
    reason = config.unsupported_reason(spec)
    if reason is not None:
        raise UserError(f"prior {config.name!r} can't model these latents: {reason}")
    return config.build(spec)
