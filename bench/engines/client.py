"""The engine's end of the fork server: starting it, submitting jobs, reading how they ended. Torch-free."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

from ...results.errors import UserError
from ..imports import Import
from .allowance import Allowance

_ALLOCATOR = {  # page faults cost 15-22 % of CPU steps: keep freed memory, use huge pages
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "THP_MEM_ALLOC_ENABLE": "1",
}

# How threads wait for each other. By default they spin for long, as if nobody else needed their cores: on a CPU that
# others use each waits for one that the system has put aside, and a step takes two to three times as long (measured, by
# tests/perf/openmp.py). GNU's OpenMP, which torch's wheels bring, spins for some microseconds and sleeps then; Intel's
# and LLVM's heed the policy.
OPENMP = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}

PING_SECONDS = 5.0
SILENT_SECONDS = 120.0  # without an answer, which takes it no time
START_SECONDS = 1200.0  # until the first: torch comes from a network's disk


def openmp(environment: Mapping[str, str]) -> dict[str, str]:
    """What to add to the environment of a process before it imports torch: nothing where the user has chosen."""
    chosen = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & environment.keys()
    return {} if chosen else dict(OPENMP)


class ServerDiedError(RuntimeError):
    """The server has ended by itself; `code` is its exit status, as subprocess gives it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the job server died (exit status {code})")
        self.code = code


class Server:
    """A running server process (see `server`), started by `command`; it and its jobs know what `imports` register.

    They hold the file descriptors `keep` for as long as one of them lives.
    """

    command: ClassVar[Sequence[str]] = (sys.executable, "-P", "-m", f"{__package__}.server")

    def __init__(self, imports: Sequence[Import] = (), *, keep: Sequence[int] = ()) -> None:
        environment = {**_ALLOCATOR, **openmp(os.environ), **os.environ}
        environment |= {"PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
        # Ctrl-C reaches the server too, perhaps before it can ignore it; what is blocked here is blocked there.
        self._allowance = Allowance.create()
        arguments = [str(os.getpid()), json.dumps([asdict(item) for item in imports]), str(self._allowance.descriptor)]
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process = subprocess.Popen(
                [*self.command, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                pass_fds=(*keep, self._allowance.descriptor),
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._requests, self._events = self.process.stdin, self.process.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._events, selectors.EVENT_READ)
        self._submitting = threading.Lock()
        self._pending = b""
        self._heard = time.monotonic()
        self._asked: float | None = None
        self.ready = False

    def submit(self, request: Mapping[str, Any]) -> None:
        """Have a job done: {"job", "attempt", "request"}. The next `read` notices a server that has died."""
        with contextlib.suppress(BrokenPipeError), self._submitting:  # leases' heartbeats have a thread of their own
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.flush()

    def stop(self) -> None:
        """Ask all jobs to checkpoint and end."""
        self.submit({"stop": True})

    def dump(self, job: str) -> None:
        """Have a job's process write into its log where it is."""
        self.submit({"dump": job})

    def kill(self, job: str) -> None:
        """End a job's process."""
        self.submit({"kill": job})

    def allow_until(self, until: float, last: float) -> None:
        """Have all jobs end at `until` (see `Allowance`), or by themselves at `last`, unless later times are told.

        Raises ValueError once it is closed.
        """
        self._allowance.tell(until, last)

    def check_alive(self) -> None:
        """Ask the server for an answer now and then, and end it when none comes: `read` finds it dead then."""
        now = time.monotonic()
        limit = SILENT_SECONDS if self.ready else START_SECONDS
        if self._asked is not None and now - self._asked > limit:
            self.process.kill()
        elif self._asked is None and now - self._heard > PING_SECONDS:
            self._asked = now
            self.submit({"ping": True})

    def read(self, timeout: float) -> list[dict[str, Any]]:
        """What jobs have ended, waiting for at most `timeout` seconds: {"job", "attempt", "status"}.

        Raises ServerDiedError, and UserError for imports that fail there.
        """
        if not self._selector.select(timeout):
            return []
        data = os.read(self._events.fileno(), 65536)
        if not data:
            raise ServerDiedError(self.process.wait())
        self._heard, self._asked, self.ready = time.monotonic(), None, True
        *lines, self._pending = (self._pending + data).split(b"\n")
        messages = list(map(json.loads, lines))
        for message in messages:
            if "error" in message:
                raise UserError(f"in the job server: {message['error']}")
        return [message for message in messages if "job" in message]

    def close(self) -> None:
        """End the server and, with it, whatever job still runs."""
        self._selector.close()
        self._allowance.close()
        for pipe in (self._requests, self._events):
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
