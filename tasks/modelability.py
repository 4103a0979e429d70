"""The modelability task: cheap proxies of how easily a prior learns the latents, from the latents alone."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from ..results.metric import Metric
from .config import ModelabilityConfig
from .interface import TaskResult
from .latents import LatentStore
from .proxies import compute, proxies
from .proxies.interface import ProxyInput


def measure(
    latents: LatentStore,
    config: ModelabilityConfig,
    *,
    progress: Callable[[int, int, str], None] = lambda done, total, message: None,
) -> tuple[TaskResult, dict[str, float]]:
    """Compute `config.proxies` on the first `config.samples` training latents (0: all), at the posterior's mode.

    Proxies that say nothing about latents of this topology are left out, with the reason in the result's `extra`.
    Returns the metrics, and the seconds that each proxy took (volatile, so apart from the result).
    """
    split, grid = latents.train, latents.spec.grid
    n = min(len(split), config.samples or len(split))
    if split.values is None or latents.mean is None or latents.std is None:
        return TaskResult(metrics=()), {}
    inputs = ProxyInput(
        values=_tensor(split.values[:n]).float(),
        mean=latents.mean,
        std=latents.std,
        codes=None if split.codes is None else _tensor(split.codes[:n]).long(),
        codebook_sizes=grid.codebook_sizes,
        labels=None if split.labels is None else _tensor(split.labels[:n]).long(),
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
            metrics += list(compute(name, inputs))
            seconds[name] = round(time.monotonic() - started, 3)
        progress(done + 1, len(config.proxies), name)
    return TaskResult(metrics=tuple(metrics), extra={"skipped": skipped} if skipped else {}), seconds


def _tensor(array: np.ndarray) -> torch.Tensor:
    # a memory-mapped slice is read-only, and torch has few kernels for uint16
    return torch.from_numpy(array.astype(np.int64) if array.dtype.kind in "iu" else np.array(array))
