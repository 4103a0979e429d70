"""Options of the flow over sets. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from ...tokenizers.spec import LatentSpec
from .flow_config import FlowConfig, FlowOptions
from .reasons import needs_values, one_set


@dataclass(frozen=True, kw_only=True)
class SetFlowConfig(FlowOptions):
    """Rectified flow over sets of continuous tokens, with a transformer that knows no positions.

    Transformer, times and sampler as in `flow`, every position a token. Labels as in `ClassConditional`.
    """

    kind: ClassVar[str] = "set_flow"
    version: ClassVar[int] = 2
    identity_defaults: ClassVar[frozenset[str]] = frozenset()
    builds: ClassVar[str | type] = "set_flow:SetFlowPrior"
    reports = ("flow_loss",)

    def unsupported_reason(self, spec: LatentSpec) -> str | None:
        """One set of continuous tokens."""
        return one_set(spec) or needs_values(spec)

    @property
    def token_config(self) -> FlowConfig:
        """The `flow` with one token per position."""
        return FlowConfig(patch=(1,), **{option.name: getattr(self, option.name) for option in fields(self)})

    def forward_flops(self, spec: LatentSpec) -> float:
        """Those of `flow` with one token per position."""
        return self.token_config.forward_flops(spec)
