"""Configuration of nested dropout: tokens from coarse to fine, any prefix of which decodes. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ..cost import Cost
from .config import RegulariserConfig

if TYPE_CHECKING:
    from ..config import TokenizerConfig
    from .base import Regulariser


@dataclass(frozen=True, kw_only=True)
class NestedDropoutConfig(RegulariserConfig):
    """In training the decoder reads a random prefix of the tokens (A13; Rippel et al. 2014).

    `weight` is the share of the samples that are cut. Their length is any from 1 to n, all equally likely ("uniform";
    One-D-Piece, Miwa et al. 2025), or one of 1, 2, 4, ... and n ("powers"; FlexTok, Bachmann et al. 2025). What is cut
    becomes zeros, or one vector that is learned.
    """

    kind: ClassVar[str] = "nested_dropout"
    version: ClassVar[int] = 1

    lengths: Literal["uniform", "powers"] = "uniform"
    mask: Literal["zeros", "learned"] = "zeros"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight > 1:
            raise ValueError("weight is the share of the samples that are cut: at most 1")

    def validate(self, config: TokenizerConfig) -> None:
        topology = config.spec.topology
        if topology == "set":
            raise ValueError("a set has no prefix; it needs tokens in a sequence")
        if topology != "sequence":
            raise ValueError(
                f"a {topology} has no prefix that says something of the whole signal; it needs tokens in a sequence, "
                'as backbone "vit" with tokens gives'
            )
        if config.layout.positions < 2:
            raise ValueError("one token has no shorter prefix; it needs at least 2 tokens")

    def prefixes(self, tokens: int) -> tuple[int, ...]:
        """The lengths 1, 2, 4, ... below `tokens`."""
        return tuple(1 << power for power in range((tokens - 1).bit_length()))

    def width(self, config: TokenizerConfig) -> int:
        """Numbers per token that the decoder reads."""
        return config.bottleneck.outputs(config.channels, config.features)

    def cost(self, config: TokenizerConfig) -> Cost:
        return Cost(parameters=self.width(config) if self.mask == "learned" else 0)

    def build(self, config: TokenizerConfig) -> Regulariser:
        from .nested_dropout import NestedDropout

        return NestedDropout(self, tokens=config.layout.positions, width=self.width(config))
