"""Proxies of modelability: what the latents alone say about how easily a prior learns them.

Importing this package loads no torch.
"""

from __future__ import annotations

from .config import proxies

__all__ = ["proxies"]
