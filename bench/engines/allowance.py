"""Until when jobs may run: told by the engine, in memory that it shares with its server and their processes.

Torch-free. A message would come as late as the server that reads it; and a process that wakes from a stop may run, for
a moment, before any other has looked at a clock. So each worker has the kernel end it, stopped or not, at the time from
which others may do its job; that time moves on with the engine's signs of life.
"""

from __future__ import annotations

import math
import mmap
import os
import signal
import sys
import tempfile
import threading
import time

from ..signals import KernelTimer, uptime

_LOOK_SECONDS = 0.5  # between two looks of a worker
_BYTES = 16


class Allowance:
    """Two uptimes (see `signals.uptime`), infinite at first.

    `until` which jobs may run as far as the engine knows: the server ends them then. `last`, later: from then on others
    may have taken them over.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, _BYTES)
        self._times = memoryview(self._memory).cast("d")  # eight bytes are stored at once, or not

    @classmethod
    def create(cls) -> Allowance:
        """One that nobody knows yet; `descriptor` is for those who shall."""
        if sys.platform == "linux":
            descriptor = os.memfd_create("allowance")
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, _BYTES)
        allowance = cls(descriptor)
        allowance.tell(math.inf, math.inf)
        return allowance

    @property
    def until(self) -> float:
        return self._times[0]

    @property
    def last(self) -> float:
        return self._times[1]

    def tell(self, until: float, last: float) -> None:
        """Set both. Raises ValueError once it is closed."""
        self._times[1], self._times[0] = last, until

    def close(self) -> None:
        """Raises nothing when called again."""
        self._times.release()
        self._memory.close()
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = -1


def end_with(allowance: Allowance) -> None:
    """From now on this process ends at `allowance.last`, which may rise. Costs nothing where that is infinite."""
    if allowance.last == math.inf:
        return
    timer = KernelTimer()
    timer.set(allowance.last)
    threading.Thread(target=_follow, args=(allowance, timer), name="allowance", daemon=True).start()


def _follow(allowance: Allowance, timer: KernelTimer) -> None:
    while True:
        last = allowance.last
        timer.set(last)
        if uptime() > last:  # where the kernel has no such timer
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(_LOOK_SECONDS)
