"""Whether a file has all the bytes that its header says, where libav tells its length by the bytes that are there.

AVI: Multimedia Programming Interface and Data Specifications 1.0 (1991), and OpenDML 1.02 for several RIFF chunks in a
row; ASF (WMV, WMA): Advanced Systems Format Specification, section 3.2. Needs no torch.
"""

from __future__ import annotations

from .media import Media, byte_count
from .source import Skip

_MOST_CHUNKS = 10_000
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_BROADCAST = 1


def lacks_riff_bytes(path: Media) -> bool:
    """Whether a chunk of the file's top level ends behind the file. Raises OSError."""
    size, begin = byte_count(path), 0
    with path.open("rb") as file:
        for _ in range(_MOST_CHUNKS):
            file.seek(begin)
            head = file.read(8)
            if len(head) < 8 or head[:4] not in (b"RIFF", b"JUNK"):
                return False
            begin += 8 + int.from_bytes(head[4:], "little")
            if begin > size + 1:  # a missing pad byte is no harm
                return True
            begin += begin % 2
    return False


def expect_asf_bytes(path: Media) -> None:
    """Raises Skip for an ASF file that is smaller than its header says; libav forgets its length then."""
    stated, size = _asf_bytes(path), byte_count(path)
    if stated is not None and stated > size:
        raise Skip(f"cut short: {size} of {stated} bytes are there")


def _asf_bytes(path: Media) -> int | None:
    """The size of an ASF file as its header says it; None of another file, or where it is a broadcast, whose size
    nobody knew."""
    with path.open("rb") as file:
        head = file.read(16)
        if head != _ASF_HEADER:
            return None
        head = file.read(1 << 16)
    place = head.find(_ASF_PROPERTIES)
    body = head[place + 40 : place + 92]  # behind the object's name and size, and the file's own name
    if place < 0 or len(body) < 52 or body[48] & _ASF_BROADCAST:
        return None
    return int.from_bytes(body[:8], "little") or None
