"""Python's search for garbage, while there is none."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collections() -> Iterator[None]:
    """Without the search for cycles among a million new objects that have none: it takes as long as making them.

    Nor is it made up for at the end: what there is by then counts as old."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if not gc.get_freeze_count():
                gc.freeze()  # all objects are of no generation now, and new ones are counted from none
                gc.unfreeze()  # and of the oldest
            gc.enable()
