"""The modelability task: cheap proxies of how easily a prior learns the latents, from the latents alone."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..results.metric import Metric
from .config import ModelabilityConfig
from .interface import JobResult
from .latents import LatentStore, as_tensor
from .proxies import proxies
from .proxies.interface import ProxyInput, compute


def measure(
    latents: LatentStore,
    config: ModelabilityConfig,
    *,
    progress: Callable[[int, int, str], None] = lambda done, total, message: None,
) -> JobResult:
    """Compute `config.proxies` on the first `config.samples` training latents (0: all), at the posterior's mode.

    Proxies that say nothing about latents of this topology are left out, with the reason in the result's `extra`;
    `run` has the seconds that each of the others took.
    """
    split, grid = latents.train, latents.spec.grid
    n = min(len(split), config.samples or len(split))
    if split.values is None or latents.mean is None or latents.std is None:
        return JobResult(run={"proxy_seconds": {}})
    inputs = ProxyInput(
        values=as_tensor(split.values[:n]).float(),
        mean=latents.mean,
        std=latents.std,
        codes=None if split.codes is None else as_tensor(split.codes[:n]).long(),
        codebook_sizes=grid.codebook_sizes,
        labels=None if split.labels is None else as_tensor(split.labels[:n]).long(),
    )
    metrics: list[Metric] = []
    seconds: dict[str, float] = {}
    skipped: dict[str, str] = {}
    for done, name in enumerate(config.proxies):
        reason = proxies.get(name).unsupported_reason(grid.topology)
        if reason is not None:
            skipped[name] = reason
        else:
            started = time.monotonic()
            metrics += compute(name, inputs)
            seconds[name] = round(time.monotonic() - started, 3)
        progress(done + 1, len(config.proxies), name)
    extra = {"skipped": skipped} if skipped else {}
    return JobResult(metrics=tuple(metrics), extra=extra, run={"proxy_seconds": seconds})
