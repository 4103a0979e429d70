"""One run at a time works on a folder, or several that share it by leases. Torch-free."""

from __future__ import annotations

import fcntl
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..results.activity import LOCK, active, mark_active
from ..results.errors import UserError


@contextmanager
def locked(root: Path, *, shared: bool = False, option: str = "--out") -> Iterator[None]:
    """Hold `root` for this run: two runs at once would do the same jobs twice. The kernel frees it however we end.

    Those that share a folder by leases exclude only a run that does not; a disk without locks is one for them. The
    folder is what the user gave as `option`, "" for an argument. Raises UserError.
    """
    name = f"{option} {root}".strip()
    choose = f" or choose another {option}" if option else ""
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = (root / LOCK).open("a")
    except OSError as error:
        raise UserError(f"{name}: can't be written: {error.strerror}") from None
    with file:
        try:
            _lock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        except BlockingIOError:
            raise UserError(f"{name}: another run is using it; wait for it{choose}") from None
        except OSError as error:  # a network disk without locks, for one
            if shared:
                yield
                return
            reason = error.strerror or error
            elsewhere = f"choose an {option} on a disk with locks" if option else "it needs a disk with locks"
            raise UserError(f"{name}: can't be locked ({reason}); {elsewhere}") from None
        if not shared and (others := active(root)):
            hosts = ", ".join(sorted({member.host for member in others}))
            join = f"wait, or join with `latentbench work {shlex.quote(str(root))}`"
            raise UserError(f"{name}: {hosts} {'is' if len(others) == 1 else 'are'} working on it; {join}")
        mark_active(file)
        yield


def _lock(file: IO[str], kind: int) -> None:
    """Lock the file. Who only looks whether it is locked holds it for a moment: that is waited for."""
    for wait in (0.05, 0.2, 0.0):
        try:
            return fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise
            time.sleep(wait)
    return None
