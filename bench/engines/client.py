"""The engine's end of the fork server: starting it, ordering jobs, hearing how they ended. Torch-free."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

_ALLOCATOR = {  # page faults cost 15-22 % of CPU steps: keep freed memory, use huge pages
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "THP_MEM_ALLOC_ENABLE": "1",
}


class ServerDiedError(RuntimeError):
    """The server has ended by itself; `code` is its exit status, as subprocess gives it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the job server died (exit status {code})")
        self.code = code


class Server:
    """A running server process (see `server`), started by `command`."""

    command: ClassVar[Sequence[str]] = (sys.executable, "-P", "-m", f"{__package__}.server")

    def __init__(self) -> None:
        environment = {**_ALLOCATOR, **os.environ, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
        # Ctrl-C reaches the server too, perhaps before it can ignore it; what is blocked here is blocked there.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._orders, self._events = self.process.stdin, self.process.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._events, selectors.EVENT_READ)
        self._pending = b""

    def order(self, data: Mapping[str, Any]) -> None:
        """Have a job done. A server that has died is found out by the next `read`."""
        with contextlib.suppress(BrokenPipeError):
            self._orders.write(json.dumps(data).encode() + b"\n")
            self._orders.flush()

    def stop(self) -> None:
        """Ask all jobs to checkpoint and end."""
        self.order({"stop": True})

    def read(self, timeout: float) -> list[dict[str, Any]]:
        """What jobs have ended, waiting for at most `timeout` seconds: {"job", "attempt", "status"}.

        Raises ServerDiedError.
        """
        if not self._selector.select(timeout):
            return []
        data = os.read(self._events.fileno(), 65536)
        if not data:
            raise ServerDiedError(self.process.wait())
        *lines, self._pending = (self._pending + data).split(b"\n")
        return [message for message in map(json.loads, lines) if "job" in message]

    def close(self) -> None:
        """End the server and, with it, whatever job still runs."""
        self._selector.close()
        for pipe in (self._orders, self._events):
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
