"""Engines: where jobs are executed."""

from ...tokenizers.registry import Registry
from .interface import Engine

engines = Registry(
    "engine",
    "latentbench.engines",
    {
        "local": "bench.engines.local:LocalEngine",
        "inline": "bench.engines.inline:InlineEngine",
        "leases": "bench.engines.leases:LeaseEngine",
        "ray": "bench.engines.ray:RayEngine",
    },
    base=Engine,
)
