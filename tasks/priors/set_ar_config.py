"""Options of the autoregressive prior of sets. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from ...tokenizers.spec import LatentSpec
from .ar_config import ARConfig
from .options import CodeTransformerOptions
from .reasons import needs_codes, one_set


@dataclass(frozen=True, kw_only=True)
class SetARConfig(CodeTransformerOptions):
    """Autoregressive transformer over sets of codes in ascending order: exact likelihood of a multiset.

    Transformer, depth network and sampling options as in `ar`; codes that would come before the last one are
    impossible. Labels as in `ClassConditional`.
    """

    kind: ClassVar[str] = "set_ar"
    version: ClassVar[int] = 1
    identity_defaults: ClassVar[frozenset[str]] = frozenset()
    builds: ClassVar[str | type] = "set_ar:SetARPrior"
    reports = ("nll_bits", "nll_bits_per_element")

    def unsupported_reason(self, spec: LatentSpec) -> str | None:
        """One set of codes."""
        return one_set(spec) or needs_codes(spec)

    @property
    def sequence_config(self) -> ARConfig:
        """The `ar` of the sorted sequence."""
        return ARConfig(**{option.name: getattr(self, option.name) for option in fields(self)})

    def forward_flops(self, spec: LatentSpec) -> float:
        """Those of `ar` on a sequence of as many codes."""
        return self.sequence_config.forward_flops(spec)
