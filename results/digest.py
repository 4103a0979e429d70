"""Digests (SHA-256) of files, and of a record's own bytes: a flipped bit is noticed before it becomes a number."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

# Of the table `run`, which begins in the second column: text can't look like it, since JSON's strings hold no newline.
_RUN = b'\n  "run": {\n'
_SEAL = re.compile(rb'(?<=\n    "sha256": ")[0-9a-f]{64}(?=")')

UNSEALED = "0" * 64


def file_digest(path: Path) -> str:
    """The SHA-256 of the file at `path`, 64 hex digits, in bounded memory. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(content: bytes) -> bytes:
    """A record's canonical bytes with their own digest at `run.sha256`, where `UNSEALED` stands in `content`.

    The digest is that of `content`: to check it, put 64 zeros in its place. It lies in `run`, since it covers `run`,
    which differs between two runs of one job.
    """
    start, end = _place(content)
    return content[:start] + hashlib.sha256(content).hexdigest().encode() + content[end:]


def is_sealed(content: bytes) -> bool:
    """Whether a record's bytes are those that `seal` gave."""
    try:
        start, end = _place(content)
    except ValueError:
        return False
    digest = hashlib.sha256(content[:start] + UNSEALED.encode() + content[end:]).hexdigest()
    return digest.encode() == content[start:end]


def has_seal(content: bytes) -> bool:
    """Whether a record's bytes have a digest of themselves where `seal` puts it, right or wrong."""
    try:
        _place(content)
    except ValueError:
        return False
    return True


def _place(content: bytes) -> tuple[int, int]:
    match = _SEAL.search(content, content.index(_RUN))
    if match is None:
        raise ValueError("the record has no digest")
    return match.span()
