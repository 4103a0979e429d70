"""Python's search for garbage, while there is none."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

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
