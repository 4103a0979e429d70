"""Probes: small deterministic measurements on a trained tokenizer, each testing what a family of the field claims.

Importing this package loads no torch.
"""

from __future__ import annotations

from .config import default_probes, probes

__all__ = ["default_probes", "probes"]
