"""Configuration of the adapter for an object that lives in this process. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...results.errors import UserError
from .config import AdapterConfig


@dataclass(frozen=True, kw_only=True)
class LiveConfig(AdapterConfig):
    """An object of this process, such as an nn.Module of a notebook; `latentbench.bench.evaluate` makes these.

    `name` is its class, `digest` that of its source and its weights.
    """

    kind: ClassVar[str] = "live"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "live:LiveAdapter"

    name: str = ""
    digest: str = ""

    def located(self, where: str) -> LiveConfig:
        if not self.digest:
            raise UserError(f"{where}: adapter 'live' is for latentbench.bench.evaluate(object, ...) in Python")
        return self
