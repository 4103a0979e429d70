"""The modelability task: cheap proxies of how easily a prior learns the latents, from the latents alone."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from ..results.metric import Metric
from ..results.record import JobResult
from .config import ModelabilityConfig
from .latents import LatentStore
from .memory_mapped import MemoryMapped
from .metrics.balls import evenly
from .proxies import proxies
from .proxies.interface import ProxyInput, compute


def measure(
    latents: LatentStore,
    config: ModelabilityConfig,
    *,
    progress: Callable[[int, int, str], None] = lambda done, total, message: None,
) -> JobResult:
    """Compute `config.proxies` on `config.samples` of the training latents (0: all), at the posterior's mode: evenly
    spread, so that data in class order keep their classes.

    Proxies that say nothing about latents of this topology are left out, with the reason in the result's `extra`,
    which also says which proxy measured what; `run` has the seconds that each of the others took.
    """
    split, grid = latents.train, latents.spec.grid
    n = min(len(split), config.samples or len(split))
    if split.values is None or latents.mean is None or latents.std is None:
        return JobResult(run={"proxy_seconds": {}})
    inputs = ProxyInput(
        values=_spread(n, split.values).float(),
        mean=latents.mean,
        std=latents.std,
        codes=None if split.codes is None else _spread(n, split.codes).long(),
        codebook_sizes=grid.codebook_sizes,
        labels=None if split.labels is None else _spread(n, split.labels).long(),
    )
    metrics: list[Metric] = []
    seconds: dict[str, float] = {}
    measured_by: dict[str, str] = {}
    skipped: dict[str, str] = {}
    for done, name in enumerate(config.proxies):
        reason = proxies.get(name).unsupported_reason(grid.topology)
        if reason is not None:
            skipped[name] = reason
        else:
            started = time.monotonic()
            values = compute(name, inputs)
            seconds[name] = round(time.monotonic() - started, 3)
            measured_by |= {metric.name: name for metric in values}
            metrics += values
        progress(done + 1, len(config.proxies), name)
    extra = {"measured_by": measured_by, **({"skipped": skipped} if skipped else {})}
    return JobResult(metrics=tuple(metrics), extra=extra, run={"proxy_seconds": seconds})


def _spread(n: int, array: np.ndarray) -> torch.Tensor:
    return MemoryMapped(array).batch(evenly(len(array), n).numpy(), torch.device("cpu"))
