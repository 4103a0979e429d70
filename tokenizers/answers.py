"""The standard output of a process that answers another there. Torch-free."""

from __future__ import annotations

import os
import sys
from typing import IO


def keep_for_answers() -> IO[str]:
    """Standard output for answers alone: from now on whatever else is printed, by libraries in C too, goes to standard
    error."""
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers
