"""Metrics: pure functions on tensors, and registries of their descriptions. Importing this package loads no torch."""

from __future__ import annotations

from .config import measures, metrics, scores

__all__ = ["measures", "metrics", "scores"]
