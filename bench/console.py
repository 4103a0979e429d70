"""The standard streams of a command, which may be closed, full or unable to show a character."""

from __future__ import annotations

import atexit
import errno
import io
import os
import sys
from contextlib import suppress
from typing import TextIO

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


def tame_streams() -> None:
    """Have the standard streams there, and able to show any text: closed ones lead nowhere, ASCII ones escape."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (as long as the process)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    atexit.unregister(_settle_streams)
    atexit.register(_settle_streams)


def _settle_streams() -> None:
    """Let nothing be left in a stream that can't be written to: Python would exit with 120 in the place of our code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            silence(stream)


def complain(line: str) -> None:
    """A line to standard error, which may be closed or lie on a full disk; the exit code says it too."""
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """Lead a stream nowhere, so that what it still holds is lost without another error."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
