"""A request to stop, made by SIGTERM: it cuts a job off, except where the job sees to it by itself. Torch-free."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class StopSignal:
    """Called, it says whether a stop was asked for.

    The request raises KeyboardInterrupt wherever the job is, but inside `held` it only shows in the answer: the
    training loop polls it and writes a checkpoint first.
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
        """From now on only note a request: what is left of the job takes a moment."""
        self._held += 1

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, only note a request. One that nobody has answered by stopping cuts the job off at the end."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        if self.asked and not self._held:
            raise KeyboardInterrupt

    def _handle(self, *_: Any) -> None:
        self.asked = True
        if not self._held:
            raise KeyboardInterrupt
