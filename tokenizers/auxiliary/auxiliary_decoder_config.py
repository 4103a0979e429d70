"""Configuration of the auxiliary decoder. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from ..backbones.config import BackboneConfig
from ..losses.config import LossConfig
from ..losses.regression_config import L1Config, L2Config
from .config import AuxiliaryObjectiveConfig, TokenizerParts, nothing_to_train


@dataclass(frozen=True, kw_only=True)
class AuxiliaryDecoderConfig(AuxiliaryObjectiveConfig):
    """A second decoder whose loss trains the encoder, while the main decoder reads the latents without gradient
    (auxiliary decoder, B4).

    It has the main decoder's architecture, at another `width` if set. `loss` is "objective" for the main decoder's
    losses, or "l1" or "l2". It is dropped after training.
    """

    kind: ClassVar[str] = "auxiliary_decoder"
    version: ClassVar[int] = 1
    builds = "auxiliary_decoder:AuxiliaryDecoder"

    width: int | None = None
    loss: Literal["objective", "l1", "l2"] = "objective"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width is not None and self.width < 1:
            raise ValueError("width must be at least 1")

    def unsupported_reason(self, tokenizer: TokenizerParts) -> str | None:
        if self.width is not None and not hasattr(tokenizer.decoding, "width"):
            return f"backbone {tokenizer.decoding.kind!r} has no width"
        if not self.losses(tokenizer):
            return "the objective has no losses for it; loss = 'l1' or 'l2' gives it its own"
        try:
            self.backbone(tokenizer)
        except ValueError as error:
            return str(error)
        return nothing_to_train(tokenizer)

    def backbone(self, tokenizer: TokenizerParts) -> BackboneConfig:
        """The backbone whose second half it is. Raises ValueError for a width that the backbone can't have."""
        decoding: Any = tokenizer.decoding
        backbone: BackboneConfig = decoding if self.width is None else replace(decoding, width=self.width)
        return backbone

    def losses(self, tokenizer: TokenizerParts) -> tuple[LossConfig, ...]:
        """The losses that train it and the encoder."""
        if self.loss == "objective":
            return tokenizer.losses
        return (L1Config(),) if self.loss == "l1" else (L2Config(),)
