"""Signs of life of the processes that share an output folder, each as a file whose counter rises. Torch-free.

Nothing compares clocks of two machines, or trusts one that somebody may set. Who waits for a sign of life measures
with its own monotonic clock for how long the counter has stood still; who gives it measures, with a clock that runs
while the machine sleeps, since when it has been unable to, and ends its own jobs after half the time after which others
take them over. Where two processes share a machine, a lock that the dead one and all its jobs held tells at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ...results.activity import BEAT, NEW_STATE, STATE, WORKERS, ended_here, this_boot
from ...results.errors import UserError
from ...results.store import atomic_write
from ..signals import uptime

_BEATS = 6  # at least, in the time after which others take over
_MOST_SECONDS = 30.0  # between two: who has been silent for minutes is shown no more (`results.activity`)
_COUNTER = 20  # digits


def beat_seconds(expiry: float) -> float:
    """How long it is from one sign of life to the next."""
    return min(expiry / _BEATS, _MOST_SECONDS)


class Heartbeat:
    """This process's own sign of life below `root`, in a thread of its own, from `start` to `stop`.

    Whenever it was given, `renewed` is called with the uptime until which this process may count on its leases; `lost`
    once when it could not be given for half of `expiry` seconds, or others have declared this process dead.
    """

    def __init__(
        self, root: Path, *, expiry: float, renewed: Callable[[float], None], lost: Callable[[], None]
    ) -> None:
        host = re.sub(r"[^A-Za-z0-9.-]", "_", platform.node())[:60] or "host"
        self.name = f"{host}-{os.getpid()}-{secrets.token_hex(4)}"
        self.path = root / WORKERS / f"{self.name}{BEAT}"
        self.expiry, self.is_lost = expiry, False
        self._renewed, self._report_lost = renewed, lost
        self._count, self.allowed = 0, 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self.descriptor = -1

    def start(self) -> None:
        """Give the first sign, and begin to give more. Raises UserError where the folder can't be written to."""
        atomic_write(self.path, self._content(boot=""))
        try:
            self.descriptor = os.open(self.path, os.O_RDWR)
            if self._lockable():
                # After the lock is held: who reads this may take a lock that can be had for a death.
                os.pwrite(self.descriptor, self._content(boot=this_boot()), 0)
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror or error}") from None
        self.allowed = uptime() + self.expiry / 2
        self._renewed(self.allowed)
        self._thread.start()

    def stop(self) -> None:
        """End it, and remove the file: whoever does so has left no lease."""
        self._ended.set()
        self._thread.join(self.expiry)  # it may hang in a disk that does not answer
        for path in (self.path, self.path.with_suffix(STATE), self.path.with_suffix(NEW_STATE)):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        os.close(self.descriptor)

    def check(self) -> bool:
        """Whether this process may still count on its leases."""
        return not self.is_lost and uptime() < self.allowed

    def _line(self) -> bytes:
        return f"{self._count:0{_COUNTER}d}\n".encode()

    def _content(self, *, boot: str) -> bytes:
        return self._line() + json.dumps({"expiry": self.expiry, "boot": boot}).encode() + b"\n"

    def _lockable(self) -> bool:
        """Hold a lock for as long as this process, its server or a worker lives; whether locks mean anything here."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            other = os.open(self.path, os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            os.close(other)
        return False

    def _beat(self) -> None:
        while not self._ended.wait(beat_seconds(self.expiry)):
            began = uptime()
            if began < self.allowed and self._renew():
                self.allowed = began + self.expiry / 2
                self._renewed(self.allowed)
            elif uptime() >= self.allowed or not self._present():
                self.is_lost = True
                self._report_lost()
                return

    def _renew(self) -> bool:
        """Raise the counter in place, so that other machines see no name change; False where that is not possible."""
        self._count += 1
        try:
            descriptor = os.open(self.path, os.O_WRONLY)  # by its name: who declares us dead takes that away
            try:
                os.pwrite(descriptor, self._line(), 0)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError:
            return False
        return True

    def _present(self) -> bool:
        try:
            return self.path.exists()
        except OSError:  # a disk that does not answer is no verdict
            return True


@dataclass(kw_only=True)
class _Seen:
    counter: bytes
    since: float
    expiry: float


@dataclass(kw_only=True)
class Observer:
    """Who of the others below `root` is alive, as far as this process has seen. Each states after how many seconds
    without a sign it counts as dead; `expiry` is for those of whom nothing is left to read."""

    root: Path
    expiry: float
    clock: Callable[[], float] = time.monotonic
    seen: dict[str, _Seen] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)  # of this machine, whose lock nobody holds any more

    def alive(self, name: str) -> bool:
        """Whether the process may still work on what it has taken. Declares it dead when its time is over."""
        if name in self.ended:
            return False
        path = self.root / WORKERS / f"{name}{BEAT}"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            # Somebody has declared it dead, perhaps in the moment of a sign: it notices with its next.
            seen = self._see(name, b"")
            return self.clock() - seen.since < 2 * beat_seconds(seen.expiry)
        except OSError:
            return True
        seen = self._see(name, content)
        if ended_here(path):
            self.ended.add(name)
        elif self.clock() - seen.since < seen.expiry:
            return True
        for old in (path, path.with_suffix(STATE), path.with_suffix(NEW_STATE)):
            with suppress(OSError):
                old.unlink(missing_ok=True)
        self._see(name, b"")
        return name not in self.ended

    def filled(self, lease: Path) -> bool:
        """Whether whoever makes a lease that names nobody yet still has the time to."""
        try:
            facts = lease.stat()  # each time anew: one of that name may have been given back and taken again
        except OSError:
            return True
        seen = self._see(str(lease), f"{facts.st_ino} {facts.st_mtime_ns}".encode())
        return self.clock() - seen.since < 2 * beat_seconds(self.expiry)

    def _see(self, name: str, content: bytes) -> _Seen:
        """Since when this process has seen that counter."""
        counter, _, facts = content.partition(b"\n")
        before = self.seen.get(name)
        if before is None or before.counter != counter:
            expiry = self.expiry if before is None else before.expiry
            with suppress(ValueError, KeyError, TypeError):
                expiry = float(json.loads(facts)["expiry"])
            before = self.seen[name] = _Seen(counter=counter, since=self.clock(), expiry=expiry)
        return before
