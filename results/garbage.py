"""Python's search for garbage, while there is none."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_frozen = False  # whether the process has been seen to keep objects out of all generations


@contextmanager
def no_collections() -> Iterator[None]:
    """Without the search for cycles among a million new objects that have none: it takes as long as making them.

    Nor is it made up for at the end: what there is by then counts as old."""
    global _frozen
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            _frozen = _frozen or gc.get_freeze_count() > 0  # they are counted one by one: that once
            if not _frozen:
                gc.freeze()  # all objects are of no generation now, and new ones are counted from none
                gc.unfreeze()  # and of the oldest
            gc.enable()


@cache
def keep_what_forks_inherit() -> None:
    """From now on no fork of this process frees, in search of garbage, what was made before it.

    Some libraries' objects wait at their end for threads that they began, and a fork has none of these: so it would
    wait for ever (libav's scalers do).
    """
    os.register_at_fork(after_in_child=gc.freeze)
