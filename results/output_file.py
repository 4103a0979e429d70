"""Writing to a path that the user has named, which may be a link, a device, a pipe or this process's own output.

What latentbench names itself is written by `results.store.atomic_file`; a path of the user's by `output_file`.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import UserError
from .store import atomic_file

_DESCRIPTOR = re.compile(r"/dev/(?:(stdin|stdout|stderr)|fd/([0-9]{1,6}))|/proc/self/fd/([0-9]{1,6})")
_STREAMS = {"stdin": 0, "stdout": 1, "stderr": 2}


@contextmanager
def output_file(path: Path) -> Iterator[Path]:
    """A temporary path to write to; leaving the block puts what was written where `path` leads.

    A regular file is replaced, all or nothing, as by `atomic_file`; of a link, the file that it leads to, and the link
    stays. A pipe, a terminal, /dev/null or an open descriptor (/dev/stdout, /dev/fd/N) is written into as it is. Raises
    UserError, before the block, for a folder, a disk or a socket.
    """
    if is_stream(path):
        with _stream(path) as temporary:
            yield temporary
    else:
        with atomic_file(Path(os.path.realpath(path)) if os.path.islink(path) else path) as temporary:
            yield temporary


def write_output(path: Path, content: bytes) -> None:
    """Put `content` where `path` leads: see `output_file`. Raises UserError."""
    with output_file(path) as temporary:
        temporary.write_bytes(content)


def is_stream(path: Path) -> bool:
    """Whether what is written to `path` is appended to something that others read, and no file is made. Raises
    UserError for what nobody can write to."""
    if _descriptor(path) is not None:
        return True
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False  # nothing yet, or nothing that can be: whoever writes it says so
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        return True
    refused = {stat.S_ISDIR: "folder", stat.S_ISBLK: "disk", stat.S_ISSOCK: "socket"}
    for is_so, name in refused.items():
        if is_so(mode):
            raise UserError(f"cannot write {path}: it is a {name}; expected a file's name")
    return False


def is_stdout(path: Path) -> bool:
    """Whether that is this process's standard output, where nothing else should then be printed."""
    return _descriptor(path) == 1


def _descriptor(path: Path) -> int | None:
    """The open descriptor that `path` names. By its own name: a file that it leads to must not be replaced under it."""
    match = _DESCRIPTOR.fullmatch(os.path.normpath(path))
    if match is None:
        return None
    return _STREAMS[match[1]] if match[1] else int(match[2] or match[3])


@contextmanager
def _stream(path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="latentbench-") as folder:
        temporary = Path(folder, f"output{path.suffix}")
        temporary.touch()
        yield temporary
        number = _descriptor(path)
        try:
            if number == 1:
                sys.stdout.flush()
            opened = os.open(path, os.O_WRONLY) if number is None else os.dup(number)
            with open(opened, "wb") as target, temporary.open("rb") as source:
                shutil.copyfileobj(source, target)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}") from error
