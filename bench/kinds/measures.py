"""Versions of measures that several tasks share and that have no registry. Torch-free."""

from __future__ import annotations

from ...tokenizers.registry import declared_version

SHARED_VERSIONS = {
    name: declared_version(f"tasks.metrics.{name}:VERSION") or 0 for name in ("codes", "frechet", "kid", "rate")
}
SCORE_VERSIONS = {
    score: declared_version(f"tasks.metrics.{module}:VERSION") or 0
    for score, module in {
        "manifold": "manifold",
        "memorisation": "memorisation",
        "fd_infinity": "extrapolate",
        "inception_score": "inception_score",
    }.items()
}
