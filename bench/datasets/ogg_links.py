"""Chained Ogg files: several streams in one file, each with its own headers and clock (RFC 3533, section 4)."""

from __future__ import annotations

import io
import mmap
from contextlib import ExitStack
from pathlib import Path

from .media import Media

# The beginning of a page, and of one that begins a stream.
_PAGE, _FIRST = b"OggS\0", b"OggS\0\2"


class Link(io.RawIOBase):
    """The bytes of one of the files, to be read like a file."""

    def __init__(self, path: Media, begin: int, size: int) -> None:
        self._file = path.open("rb")
        self._begin, self._size, self._place = begin, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence])
        return self._place

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._place)
        self._file.seek(self._begin + self._place)
        data = self._file.read(left if size < 0 else min(size, left))
        self._place += len(data)
        return data

    def close(self) -> None:
        self._file.close()
        super().close()


def ogg_links(path: Media) -> list[tuple[int, int]]:
    """(begin, size) of each file in a chained Ogg file; empty for any other file."""
    with path.open("rb") as file:
        if file.read(len(_PAGE)) != _PAGE:
            return []
        with ExitStack() as stack:
            data: mmap.mmap | bytes
            if isinstance(path, Path):
                data = stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            else:
                data = path.read_bytes()
            begins, place = [0], data.find(_FIRST)
            while place >= 0:
                following = data.find(_FIRST, place + 1)
                # Streams that run side by side all begin before the first page of any goes on.
                after = data.find(_PAGE, place + 1)
                if 0 <= after < following:
                    begins.append(following)
                place = following
            ends = [*begins[1:], len(data)]
    return [(begin, end - begin) for begin, end in zip(begins, ends, strict=True)] if len(begins) > 1 else []
