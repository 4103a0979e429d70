"""From a prior's configuration to the prior."""

from __future__ import annotations

from ...tokenizers.spec import LatentSpec
from .config import PriorConfig, check_supported
from .interface import Prior


def build_prior(config: PriorConfig, spec: LatentSpec) -> Prior:
    """The untrained prior of `config` for the latents `spec`. Raises UserError when it can't model them."""
    check_supported(config, spec)
    prior: Prior = config.build(spec)
    return prior
