"""Configuration of the auxiliary decoder. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ..backbones.config import BackboneConfig
from ..losses.config import L1Config, L2Config, TermConfig
from .config import RegulariserConfig

if TYPE_CHECKING:
    from ..config import TokenizerConfig
    from .base import Regulariser


@dataclass(frozen=True, kw_only=True)
class AuxiliaryDecoderConfig(RegulariserConfig):
    """A second decoder whose loss trains the encoder, while the main decoder reads a stop-gradient (B4).

    It is the main decoder's twin, of `width` where given. `loss` is "objective" for the main decoder's terms, or "l1"
    or "l2". Training over, it is dropped.
    """

    kind: ClassVar[str] = "auxiliary_decoder"
    version: ClassVar[int] = 1

    width: int | None = None
    loss: Literal["objective", "l1", "l2"] = "objective"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width is not None and self.width < 1:
            raise ValueError("width must be at least 1")

    def validate(self, config: TokenizerConfig) -> None:
        if self.width is not None and not hasattr(config.decoding, "width"):
            raise ValueError(f"backbone {config.decoding.kind!r} has no width")
        if not self.terms(config):
            raise ValueError("the objective has no terms for it; loss = 'l1' or 'l2' is its own")
        self.backbone(config)

    def backbone(self, config: TokenizerConfig) -> BackboneConfig:
        """The backbone whose second half it is."""
        if self.width is None:
            return config.decoding
        decoding: Any = config.decoding
        twin: BackboneConfig = replace(decoding, width=self.width)
        return twin

    def terms(self, config: TokenizerConfig) -> tuple[TermConfig, ...]:
        """The loss terms that train it and the encoder."""
        if self.loss == "objective":
            return config.losses
        return (L1Config(),) if self.loss == "l1" else (L2Config(),)

    def build(self, config: TokenizerConfig) -> Regulariser:
        from .auxiliary_decoder import AuxiliaryDecoder

        return AuxiliaryDecoder(self, config)
