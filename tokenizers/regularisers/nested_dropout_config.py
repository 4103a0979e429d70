"""Configuration of nested dropout: tokens from coarse to fine, any prefix of which decodes. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..auxiliary.config import TokenizerParts
from ..cost import Cost
from .config import RegulariserConfig


@dataclass(frozen=True, kw_only=True)
class NestedDropoutConfig(RegulariserConfig):
    """In training the decoder reads a random prefix of the tokens (nested dropout, A13).

    After Rippel et al. 2014 (arXiv 1402.0915). `weight` is the share of the samples that are cut. Prefixes have any
    length from 1 to n with equal probability ("uniform"; One-D-Piece, Miwa et al. 2025), or one of 1, 2, 4, ... and n
    ("powers"; FlexTok, Bachmann et al. 2025). The tokens cut off are replaced by zeros, or by one learned vector.
    """

    kind: ClassVar[str] = "nested_dropout"
    points: ClassVar[tuple[str, ...]] = ("prefix_<n>",)
    version: ClassVar[int] = 1
    builds = "nested_dropout:NestedDropout"

    lengths: Literal["uniform", "powers"] = "uniform"
    mask: Literal["zeros", "learned"] = "zeros"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight > 1:
            raise ValueError("weight is the share of the samples that are cut: at most 1")

    def unsupported_reason(self, tokenizer: TokenizerParts) -> str | None:
        topology = tokenizer.spec.topology
        if topology == "set":
            return "a set has no prefix; it needs tokens in a sequence"
        if topology != "sequence":
            return (
                f"no prefix of a {topology} describes the whole signal; it needs tokens in a sequence, "
                'as backbone "vit" with tokens gives'
            )
        if tokenizer.layout.positions < 2:
            return "one token has no shorter prefix; it needs at least 2 tokens"
        return None

    def prefixes(self, tokens: int) -> tuple[int, ...]:
        """The lengths 1, 2, 4, ... below `tokens`."""
        return tuple(1 << power for power in range((tokens - 1).bit_length()))

    def width(self, tokenizer: TokenizerParts) -> int:
        """Numbers per token that the decoder reads."""
        return tokenizer.bottleneck.outputs(tokenizer.channels, tokenizer.features)

    def cost(self, tokenizer: TokenizerParts) -> Cost:
        return Cost(parameters=self.width(tokenizer) if self.mask == "learned" else 0)
