"""Configuration of resolution dropout. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .config import RegulariserConfig

if TYPE_CHECKING:
    from ..config import TokenizerConfig
    from .base import Regulariser


@dataclass(frozen=True, kw_only=True)
class ResolutionDropoutConfig(RegulariserConfig):
    """In training a sample is encoded, with `probability`, at half the resolution per axis of the latent grid (A14).

    So one tokenizer serves two resolutions, as in CAT (Shen et al. 2025). Its weight means nothing beyond off or on.
    """

    kind: ClassVar[str] = "resolution_dropout"
    version: ClassVar[int] = 1

    probability: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.probability < 1:
            raise ValueError("probability must lie between 0 and 1")

    def validate(self, config: TokenizerConfig) -> None:
        if config.layout.topology != "grid":
            raise ValueError(f"only a grid has a resolution, and these latents are a {config.layout.topology}")
        halves(config.layout.shape)

    def build(self, config: TokenizerConfig) -> Regulariser:
        from .resolution_dropout import ResolutionDropout

        return ResolutionDropout(self, halves(config.layout.shape))


def halves(shape: tuple[int, ...]) -> tuple[int, ...]:
    """By how much each axis shrinks at half the resolution: 2, or 1 where it is odd.

    Raises ValueError when no axis can be halved.
    """
    factors = tuple(1 if size % 2 else 2 for size in shape)
    if 2 not in factors:
        raise ValueError(f"a grid of {'x'.join(map(str, shape))} has no axis of even size to halve")
    return factors
