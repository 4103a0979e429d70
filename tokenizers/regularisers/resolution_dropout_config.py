"""Configuration of resolution dropout. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..auxiliary.config import TokenizerParts
from .config import RegulariserConfig


@dataclass(frozen=True, kw_only=True)
class ResolutionDropoutConfig(RegulariserConfig):
    """Samples encoded at half the latent grid's resolution in training (adaptive resolution, A14).

    Each sample is, with `probability`, so that one tokenizer serves two resolutions, as in CAT (Shen et al. 2025, arXiv
    2501.03120). The weight only turns it on or off.
    """

    kind: ClassVar[str] = "resolution_dropout"
    version: ClassVar[int] = 1
    builds = "resolution_dropout:ResolutionDropout"

    probability: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.probability < 1:
            raise ValueError("probability must lie between 0 and 1")

    def unsupported_reason(self, tokenizer: TokenizerParts) -> str | None:
        if tokenizer.layout.topology != "grid":
            return f"only a grid has a resolution, and these latents are a {tokenizer.layout.topology}"
        try:
            halves(tokenizer.layout.shape)
        except ValueError as error:
            return str(error)
        return None


def halves(shape: tuple[int, ...]) -> tuple[int, ...]:
    """By how much each axis shrinks at half the resolution: 2, or 1 where its size is odd.

    Raises ValueError when no axis can be halved.
    """
    factors = tuple(1 if size % 2 else 2 for size in shape)
    if 2 not in factors:
        raise ValueError(f"a grid of {'x'.join(map(str, shape))} has no axis of even size to halve")
    return factors
