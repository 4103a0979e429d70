"""Packets of FFmpeg's codecs as one byte stream, and back. Shared by codecs of sound and of clips.

Formats whose bytes say where a packet ends are joined as they are; the others stand behind their lengths.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .stream import UndecodableError

_LONG = 255  # a first byte of a length of four more


def joined(packets: Iterable[bytes]) -> bytes:
    """Packets of at least a byte as one stream: a length of one byte below 255, else 255 and four bytes."""
    parts: list[bytes] = []
    for packet in packets:
        size = len(packet)
        parts += [bytes([size]) if size < _LONG else bytes([_LONG]) + size.to_bytes(4, "little"), packet]
    return b"".join(parts)


def separated(stream: bytes) -> list[bytes]:
    """The inverse of `joined`. Raises UndecodableError for a stream that ends inside a packet or its length."""
    packets, place = [], 0
    while place < len(stream):
        size, head = stream[place], 1
        if size == _LONG:
            size, head = int.from_bytes(stream[place + 1 : place + 5], "little"), 5
        place += head
        if size == 0 or place + size > len(stream):
            raise UndecodableError("cut inside a packet")
        packets.append(stream[place : place + size])
        place += size
    return packets


def parsed(context: Any, stream: bytes) -> list[bytes]:
    """The packets of a stream that itself says where they end, as FFmpeg's parser splits it."""
    import av

    try:
        return [bytes(packet) for packet in (*context.parse(stream), *context.parse(None))]
    except (av.FFmpegError, EOFError, ValueError) as error:
        raise UndecodableError(str(error)) from None


def decoded(context: Any, packets: Iterable[bytes]) -> list[Any]:
    """All frames of the packets. Raises UndecodableError for what FFmpeg can't decode."""
    import av

    try:
        frames = [frame for packet in packets for frame in context.decode(av.Packet(packet))]
        return [*frames, *context.decode(None)]
    except (av.FFmpegError, EOFError, ValueError) as error:
        raise UndecodableError(str(error)) from None
