"""Engines: where jobs are executed."""

from ...tokenizers.registry import Registry

engines = Registry("engine", "latentbench.engines", {"local": "bench.engines.local:LocalEngine"})
