"""Requests to stop: SIGTERM to a worker, and Ctrl-C once a run is stopping already. Torch-free.

SIGTERM raises KeyboardInterrupt in a job, but inside `StopSignal.held`: there the job polls and stops by itself.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies (Linux; elsewhere the end of input does it)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was told
        os._exit(1)


def uptime() -> float:
    """Seconds since the machine started, those in which it slept included; nobody can set it."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def ignore_interrupts() -> None:
    """From now on nothing interrupts this process: it is ending. Does nothing in a thread, which gets no signals."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Inside, a second Ctrl-C does not cut off what the first one has begun."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    ignore_interrupts()
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)


class StopSignal:
    """Calling it returns whether a stop was requested.

    The request raises KeyboardInterrupt wherever the job is, except inside `held`, where it is only noted: the training
    loop polls it and writes a checkpoint first.
    """

    def __init__(self) -> None:
        self.asked = False
        self._held = 0

    def listen(self) -> None:
        """Take SIGTERM as the request, and leave SIGINT to the engine."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def __call__(self) -> bool:
        return self.asked

    def hold(self) -> None:
        """From now on only note a request: what is left of the job takes only a moment."""
        self._held += 1

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, only note a request. If the block ends without stopping, KeyboardInterrupt is raised on exit."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        if self.asked and not self._held:
            raise KeyboardInterrupt

    def _handle(self, *_: Any) -> None:
        # A cluster signals the whole group, and the engine its workers then: once is enough.
        again, self.asked = self.asked, True
        if not self._held and not again:
            raise KeyboardInterrupt
