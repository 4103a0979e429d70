"""Turns a decoder's complaint into a reason in a user's words: the one place that does.

PyAV, torchvision and Pillow each have their own exceptions and texts, some with addresses and call names in them. None
of that reaches a user: a reason is one short line, "what: details", without the library's own words.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import av

from .media import Media, byte_count
from .source import Changed, Skip

# More pixels than this in one picture are refused before a byte of them is decoded; phones reach 200 million.
MOST_PIXELS = 200_000_000

# The operating system's trouble with a file, unlike trouble with what is in it: it may be gone at the next look.
_SYSTEM = frozenset({
    errno.EACCES, errno.EBADF, errno.EBUSY, errno.EIO, errno.EISDIR, errno.EMFILE, errno.ENFILE, errno.ENODEV,
    errno.ENOENT, errno.ENOTDIR, errno.ENXIO, errno.EPERM, errno.ESTALE, errno.ETIMEDOUT,
})  # fmt: skip
_UNSUPPORTED = ("DecoderNotFoundError", "DemuxerNotFoundError", "PatchWelcomeError", "ExperimentalError")
_DECODERS = (av.error.FFmpegError, RuntimeError, ValueError, SyntaxError, EOFError, OSError, MemoryError)


@contextmanager
def decoding(path: Media, kind: str) -> Iterator[None]:
    """Turns a decoder's exception inside the block into `Skip`, the system's trouble with the file into `Changed`.

    `kind` is what the file should be: "image", "video" or "sound". Raises Skip for an empty file.
    """
    try:
        if not byte_count(path):
            raise Skip("empty: the file has no bytes")
        yield
    except _DECODERS as error:
        raise complaint(error, kind) from None


def complaint(error: Exception, kind: str) -> Skip | Changed:
    """What to raise in place of a decoder's exception."""
    if isinstance(error, (NotImplementedError, RecursionError)) and not isinstance(error, av.error.FFmpegError):
        raise error  # a fault of this program's, not of the file's
    if isinstance(error, OSError) and error.errno in _SYSTEM:
        return Changed(f"can't be read ({(error.strerror or 'input/output error').lower()})")
    return Skip(_reason(error, kind))


def _reason(error: Exception, kind: str) -> str:
    name = type(error).__name__
    if name in _UNSUPPORTED:
        return f"unsupported or damaged: no decoder for this {kind}; convert it"
    if name.startswith("Decompression"):
        return f"too large: more than {MOST_PIXELS // 1_000_000} million pixels"
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        return f"too large: this {kind} does not fit in memory"
    if isinstance(error, EOFError) or "truncated" in str(error).lower():
        return f"cut short: the {kind} ends too early"
    return f"damaged: its data can't be decoded as {'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def expect_pixels(width: int, height: int) -> None:
    """Raises Skip for a picture of more than `MOST_PIXELS`."""
    if width * height > MOST_PIXELS:
        most = MOST_PIXELS // 1_000_000
        raise Skip(f"too large: {width} x {height} pixels, more than {most} million")


def by_reason(skipped: Iterable[str]) -> dict[str, int]:
    """How many of the reasons are of each sort ("too short", "damaged", ...), the most frequent first."""
    return dict(Counter(reason.partition(":")[0] for reason in skipped).most_common())
