"""Configuration of random signs. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..spec import LatentSpec
from .config import ScrambleConfig, continuous_reason


@dataclass(frozen=True, kw_only=True)
class SignsConfig(ScrambleConfig):
    """Signs drawn anew for every sample: one for all of it, one a channel, or one a value.

    What was drawn is stored with the sample (`Latents.key`). A prior's sample has no key and is decoded as it is: what
    the signs hid from the prior can't be brought back.
    """

    kind: ClassVar[str] = "signs"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "signs:Signs"

    per: Literal["sample", "channel", "value"] = "sample"

    def unsupported_reason(self, inner: LatentSpec) -> str | None:
        return super().unsupported_reason(inner) or continuous_reason(self.kind, inner)
