"""Seconds of work that a device may still be doing when a call returns."""

from __future__ import annotations

import time

import torch


class Stopwatch:
    """Adds up the seconds spent inside `with`.

    A GPU's are between two events in its own queue, which nobody waits for until `seconds` is read.
    """

    def __init__(self, device: torch.device, seconds: float = 0.0) -> None:
        self.device = device
        self._seconds = seconds
        self._started = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @property
    def seconds(self) -> float:
        """So far; waits for the device."""
        for start, end in self._events:
            end.synchronize()
            self._seconds += start.elapsed_time(end) / 1000
        self._events = []
        return self._seconds

    def __enter__(self) -> Stopwatch:
        if self.device.type == "cuda":
            self._events.append((torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)))
            self._events[-1][0].record()
        else:
            self._started = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            self._events[-1][1].record()
        else:
            self._seconds += time.monotonic() - self._started


def rate(count: float, seconds: float) -> float | None:
    """`count` per second to four digits; None where the clock has not moved."""
    return float(f"{count / seconds:.4g}") if seconds > 0 else None
