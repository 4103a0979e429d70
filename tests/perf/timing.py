"""The clock of all benches: runs interleaved in one process, medians, peers that are not installed left out."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


def interleaved(
    runners: Mapping[str, Callable[[], T]],
    rounds: int,
    *,
    device: str | torch.device = "cpu",
    cpu_seconds: bool = False,
    patience: float = math.inf,
) -> tuple[dict[str, float], dict[str, T]]:
    """Median seconds and last result of each runner, one run of each per round after a round that doesn't count.

    `cpu_seconds` counts the process's own seconds, which a busy machine disturbs least (on a GPU: the wall clock all
    the same). A runner that raises ImportError is left out with a line; one whose first run took more than `patience`
    seconds is not run again, and that run counts.
    """
    cuda = torch.device(device).type == "cuda"
    clock = time.process_time if cpu_seconds and not cuda else time.perf_counter
    wait = torch.cuda.synchronize if cuda else lambda: None
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    results: dict[str, T] = {}
    for turn in range(rounds + 1):
        for name in [name for name in runners if name in seconds]:
            if turn > 1 and seconds[name][0] > patience:
                continue
            wait()
            start = clock()
            try:
                results[name] = runners[name]()
            except ImportError as error:
                print(f"{name}: left out, {error}")
                del seconds[name]
                continue
            wait()
            elapsed = clock() - start
            if turn or elapsed > patience:
                seconds[name].append(elapsed)
    return {name: statistics.median(times) for name, times in seconds.items()}, results


def train_step(model: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    """A training step: forward, backward, clipping, AdamW."""
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-4, fused=True)

    def run() -> None:
        optimizer.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return run


def parameters(model: nn.Module) -> int:
    """The number of parameters."""
    return sum(p.numel() for p in model.parameters())
