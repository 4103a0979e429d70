"""Requests to stop: SIGTERM to a worker, and Ctrl-C once a run is stopping already. Torch-free.

SIGTERM raises KeyboardInterrupt in a job, but inside `StopSignal.held`: there the job polls and stops by itself.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_PR_SET_PDEATHSIG = 1
_CLOCK_BOOTTIME, _TIMER_ABSTIME, _SIGEV_SIGNAL = 7, 1, 0


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies (Linux; elsewhere the end of input does it)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was told
        os._exit(1)


def uptime() -> float:
    """Seconds since the machine started, those in which it slept included; nobody can set it."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class _SignalEvent(ctypes.Structure):
    """struct sigevent of Linux: 64 bytes in all."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_byte * (56 - ctypes.sizeof(ctypes.c_void_p))),
    )


class _TimerTimes(ctypes.Structure):
    """struct itimerspec."""

    _fields_ = tuple((name, ctypes.c_long) for name in ("again", "again_nano", "first", "first_nano"))


class KernelTimer:
    """Has the kernel kill this process at an uptime, even while the process is stopped. A fork has none.

    Does nothing where there is no such timer (other systems than Linux).
    """

    def __init__(self) -> None:
        self._library = _library_of_timers()
        if self._library is None:
            return
        event = _SignalEvent(signal=signal.SIGKILL, notify=_SIGEV_SIGNAL)
        self._timer = ctypes.c_void_p()
        if self._library.timer_create(_CLOCK_BOOTTIME, ctypes.byref(event), ctypes.byref(self._timer)):
            self._library = None

    def set(self, uptime: float) -> None:
        """From now on it is that time (see `uptime`), which takes the place of the one before."""
        if self._library is None or uptime == math.inf:
            return
        whole = max(int(uptime), 0)
        nano = int((uptime - whole) * 1e9) if uptime > 0 else 1  # zero would switch it off
        times = _TimerTimes(first=whole, first_nano=nano)
        self._library.timer_settime(self._timer, _TIMER_ABSTIME, ctypes.byref(times), None)


def _library_of_timers() -> ctypes.CDLL | None:
    if sys.platform == "linux":
        for name in (None, "librt.so.1"):  # where it was before glibc 2.34
            with suppress(OSError):
                library = ctypes.CDLL(name, use_errno=True)
                if hasattr(library, "timer_create"):
                    return library
    return None


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
