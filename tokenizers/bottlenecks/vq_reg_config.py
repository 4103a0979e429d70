"""Configuration of vector quantisation within the decoder. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .vq_config import VQConfig


@dataclass(frozen=True, kw_only=True)
class VQRegConfig(VQConfig):
    """VQ within the decoder (VQ-reg, A11): the latents are the continuous features before quantisation."""

    kind: ClassVar[str] = "vq_reg"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "vq_reg:VQReg"

    def codebook_sizes(self, channels: int) -> tuple[int, ...]:
        return ()
