"""Seconds of work that a device may still be doing when a call returns."""

from __future__ import annotations

import time

import torch


class Stopwatch:
    """Adds up the seconds spent inside `with`, waiting for a GPU at both ends. Too slow for single training steps."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = 0.0
        self._started = 0.0

    def __enter__(self) -> Stopwatch:
        self._wait()
        self._started = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self._wait()
        self.seconds += time.monotonic() - self._started

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def rate(count: float, seconds: float) -> float | None:
    """`count` per second to four digits; None where the clock has not moved."""
    return float(f"{count / seconds:.4g}") if seconds > 0 else None
