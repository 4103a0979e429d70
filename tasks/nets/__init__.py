"""Feature nets by name: light descriptions that load the net when asked (importing this needs no torch)."""

from __future__ import annotations

from .config import nets

__all__ = ["nets"]
