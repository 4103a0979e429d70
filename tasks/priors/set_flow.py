"""Rectified flow over sets of continuous tokens: `flow` with a transformer that is equivariant to permutations.

Without positions, permuted noise becomes permuted samples, and since noise has no order the samples have none: the
distribution is one of sets.
"""

from __future__ import annotations

from typing import ClassVar

from ...tokenizers.spec import LatentSpec
from .flow import FlowPrior
from .set_flow_config import SetFlowConfig


class SetFlowPrior(FlowPrior):
    """Flow matching over one set of values `[B, C, N]`."""

    ordered: ClassVar[bool] = False

    def __init__(self, config: SetFlowConfig, spec: LatentSpec) -> None:
        super().__init__(config.token_config, spec)
