"""Priors in closed form: fitted to latents without training, and sampled. Importing this package loads no torch."""

from __future__ import annotations

from .config import closed_forms

__all__ = ["closed_forms"]
