"""Whether a worker shows no sign of life: a stuck disk, a GPU that hangs, a stopped process. Torch-free."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..worker_protocol import CHECKPOINT, last_progress

# Without --stall: long enough for a network's download or a large Fréchet distance, and many times the job's own pace.
LEAST_SECONDS = 1800.0
PACES = 20.0


@dataclass(kw_only=True)
class Watch:
    """A running job's signs of life: what changes in its folder. `limit` seconds without one are too long; None: as
    long as `LEAST_SECONDS`, and `PACES` times the longest pause so far."""

    folder: Path
    log: Path
    limit: float | None
    last: float = field(default_factory=time.monotonic)
    pace: float = 0.0
    signs: tuple[object, ...] = ()
    warned: bool = False

    def look(self) -> None:
        """Take note of what has changed since the last look."""
        signs = (last_progress(self.folder), _stamp(self.log), _stamp(self.folder / CHECKPOINT))
        if signs != self.signs:
            now = time.monotonic()
            if self.signs:
                self.pace = max(self.pace, now - self.last)
            self.signs, self.last, self.warned = signs, now, False

    @property
    def silent(self) -> float:
        """Seconds since the last sign."""
        return time.monotonic() - self.last

    @property
    def allowed(self) -> float:
        """Seconds after which the job counts as stuck."""
        return max(LEAST_SECONDS, PACES * self.pace) if self.limit is None else self.limit


def _stamp(path: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        status = path.stat()
        return status.st_size, status.st_mtime_ns
    return None
