"""What an image file is and how large, read from its first bytes: GIF, JPEG, PNG and WebP, before anything is decoded.

GIF89a; ITU-T T.81, annex B; PNG (third edition), 5 and 11; RFC 9649 (WebP); EXIF 2.3, 4.6.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from .source import Skip

FORMATS = "GIF, JPEG, PNG and WebP"
_OTHERS = (
    (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"BM", "BMP"), (b"8BPS", "Photoshop"), (b"%PDF", "PDF"),
    (b"\xff\x0a", "JPEG XL"), (b"\0\0\0\x0cJXL ", "JPEG XL"), (b"\0\0\0\x0cjP  ", "JPEG 2000"),
)  # fmt: skip
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF"}
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
# In the data of a scan 0xFF is followed by 0, by a restart, or by what may stand between scans.
_FOREIGN = re.compile(rb"\xff[^\x00\xff\xc4\xd0-\xd7\xd9-\xdd\xe0-\xef\xfe]")
_HOLE = bytes(64)


@dataclass(frozen=True, kw_only=True)
class ImageHeader:
    """`kind` is "gif", "jpeg", "png" or "webp"; `orientation` is EXIF's; `transparent` says that pixels may be, by an
    alpha channel or palette; `key` is the PNG's transparent colour in its own `depth`, stated in the bytes from
    `key_at[0]` to `key_at[1]`; `animated` is a WebP's; `suspect` says that a JPEG's data look damaged, `damaged` that
    they are."""

    kind: str
    width: int
    height: int
    depth: int = 8
    orientation: int = 1
    transparent: bool = False
    key: tuple[int, ...] | None = None
    key_at: tuple[int, int] = (0, 0)
    animated: bool = False
    suspect: bool = False
    damaged: bool = False


def read_header(data: bytes) -> ImageHeader:
    """The header of an image. Raises Skip when it is of no kind that is read, or ends too early."""
    try:
        return _read(data)
    except IndexError:
        raise Skip("cut short: the image ends too early") from None


def _read(data: bytes) -> ImageHeader:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        width, height = (int.from_bytes(data[i : i + 2], "little") for i in (6, 8))
        return ImageHeader(kind="gif", width=width, height=height)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    other = next((name for magic, name in _OTHERS if data.startswith(magic)), None)
    if data[4:8] == b"ftyp":
        other = _BRANDS.get(data[8:12], other)
    if other:
        raise Skip(f"unsupported: {other}, whatever its name says; read are {FORMATS}")
    raise Skip(f"damaged: it does not begin like an image; read are {FORMATS}")


def _png(data: bytes) -> ImageHeader:
    width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
    depth, colours = data[24], data[25]
    place, orientation, transparent, key, key_at, late = 8, 1, colours in (4, 6), None, (0, 0), False
    while place + 8 <= len(data):
        length, name = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        body = data[place + 8 : place + 8 + length]
        late = late or name == b"IDAT"
        if name == b"tRNS" and not late:
            transparent = transparent or colours == 3
            if colours in (0, 2):
                key = tuple(int.from_bytes(body[i : i + 2], "big") for i in range(0, len(body) - 1, 2))
                key_at = (place, place + 12 + length)
        elif name == b"eXIf":
            orientation = _orientation(body)
        place += 12 + length
    return ImageHeader(
        kind="png", width=width, height=height, depth=depth, orientation=orientation,
        transparent=transparent, key=key, key_at=key_at,
    )  # fmt: skip


def _jpeg(data: bytes) -> ImageHeader:
    place, width, height, orientation, baseline = 2, 0, 0, 1, False
    first: list[int] = []
    while True:
        if data[place] != 0xFF:
            raise Skip("damaged: its parts are not where they must be")
        marker = data[place + 1]
        if marker == 0xFF or marker in _STANDALONE:
            place += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        body = data[place + 4 : place + 2 + length]
        if marker in _FRAMES:
            height, width = (int.from_bytes(body[i : i + 2], "big") for i in (1, 3))
            baseline = marker in (0xC0, 0xC1)
        elif marker == 0xE1 and body.startswith(b"Exif\0"):
            orientation = _orientation(body[6:])
        elif marker == 0xC4:
            first += _first_codes(body)
        place += 2 + length
        if marker == 0xDA:
            break
    hole, foreign = _look(data, place, data.rfind(b"\xff\xd9"))
    if hole or foreign:
        # Other data may follow the image: a second one, or the film of a phone's photograph.
        hole, foreign = _look(data, place, data.find(b"\xff\xd9", place))
    return ImageHeader(
        kind="jpeg", width=width, height=height, orientation=orientation,
        suspect=hole or foreign, damaged=hole and baseline and any(first),
    )  # fmt: skip


def _look(data: bytes, begin: int, end: int) -> tuple[bool, bool]:
    """Whether the data of a JPEG's scans have a hole of zero bytes, and whether markers that can't be there.

    Zero bytes are blank blocks where the code 0... ends a block; with another code they would be blocks of 63 equal
    coefficients.
    """
    end = len(data) if end < begin else end
    return data.find(_HOLE, begin, end) >= 0, _FOREIGN.search(data, begin, end) is not None


def _first_codes(tables: bytes) -> list[int]:
    """What the code 0... stands for in each Huffman table of alternating-current coefficients; 0 ends a block."""
    place, first = 0, []
    while place + 17 < len(tables):
        if tables[place] >> 4 == 1:
            first.append(tables[place + 17])
        place += 17 + sum(tables[place + 1 : place + 17])
    return first


def _orientation(exif: bytes) -> int:
    """The orientation, 1 to 8, in the first directory of EXIF data; 1 where there is none."""
    order: Literal["little", "big"] | None = {b"II": "little", b"MM": "big"}.get(exif[:2])  # type: ignore[assignment]
    if order is None:
        return 1
    begin = int.from_bytes(exif[4:8], order)
    for entry in range(begin + 2, begin + 2 + 12 * int.from_bytes(exif[begin : begin + 2], order), 12):
        if int.from_bytes(exif[entry : entry + 2], order) == 0x0112:
            size = 4 if int.from_bytes(exif[entry + 2 : entry + 4], order) == 4 else 2
            value = int.from_bytes(exif[entry + 8 : entry + 8 + size], order)
            return value if 1 <= value <= 8 else 1
    return 1


def _webp(data: bytes) -> ImageHeader:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[i : i + 3], "little") for i in (24, 27))
        place, orientation = 12, 1
        while place + 8 <= len(data):
            length = int.from_bytes(data[place + 4 : place + 8], "little")
            if data[place : place + 4] == b"EXIF":
                body = data[place + 8 : place + 8 + length]
                orientation = _orientation(body[6:] if body.startswith(b"Exif\0") else body)
            place += 8 + length + length % 2
        return ImageHeader(
            kind="webp", width=width, height=height, orientation=orientation,
            transparent=True, animated=bool(data[20] & 0x02),
        )  # fmt: skip
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return ImageHeader(kind="webp", width=1 + (bits & 0x3FFF), height=1 + (bits >> 14 & 0x3FFF), transparent=True)
    width, height = (int.from_bytes(data[i : i + 2], "little") & 0x3FFF for i in (26, 28))
    return ImageHeader(kind="webp", width=width, height=height, transparent=True)
