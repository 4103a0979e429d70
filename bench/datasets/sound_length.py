"""How long a sound file is: what it states, checked against its bytes, or a count of its packets. Needs no torch.

WAV and AIFF: Multimedia Programming Interface and Data Specifications 1.0 (1991); EBU Tech 3306 (RF64); AIFF 1.3;
Core Audio Format 1.0; Sony's Wave64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

import av

from .libav import STATES_LAST_TIME, demuxed, open_media
from .media import Media, byte_count
from .places import complete
from .source import Skip
from .stated_bytes import expect_asf_bytes

# Formats that state no length: libav guesses it from the size of the file and the first frames' bit rate.
_UNSTATED = frozenset({"aac", "ac3", "amr", "dts", "eac3", "latm", "loas", "mp3"})
# What programs that can't go back write for a length that they do not know yet, give or take the header.
_PLACEHOLDERS = ((0x7FFF0000, 0x80010000), (0xFFFF0000, 0xFFFFFFFF))
_W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")
# A clock that starts so many seconds late is no rounding, and no encoder's delay.
_LATE = 0.1
_PCM = frozenset({1, 3})


@dataclass(frozen=True)
class SoundLength:
    """`seconds` of a sound; `stated` says that the file says so, and that less would be a file cut short."""

    seconds: float
    stated: bool


def sound_length(path: Media, container: av.container.InputContainer, stream: av.AudioStream) -> SoundLength:
    """The length of the file's first sound. Raises Skip when the file is smaller than its header says."""
    seconds = _check_bytes(path)
    if seconds is not None:
        return SoundLength(seconds, stated=True)
    if _counts_from_zero(container, stream):
        return _clocked_length(path, container, stream)
    if states_times(container) or (container.format.name == "mp3" and _counts_frames(path)):
        seconds = stated_seconds(container, stream)
        if seconds is not None:
            return SoundLength(seconds, stated=True)
    expect_asf_bytes(path)
    return SoundLength(_count_packets(path, stream.index), stated=False)


def stated_seconds(container: av.container.InputContainer, stream: av.AudioStream) -> float | None:
    """What libav holds for the length."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / av.time_base


def states_times(container: av.container.InputContainer) -> bool:
    """Whether the format has timestamps, a length or a steady rate of bytes. Where it has none, libav makes them up."""
    return container.format.name not in _UNSTATED


def _counts_from_zero(container: av.container.InputContainer, stream: av.AudioStream) -> bool:
    """Whether what libav holds for the length is the last timestamp of all streams, and the stream's own is another."""
    late = (container.start_time or 0) / av.time_base > _LATE
    if container.format.name in STATES_LAST_TIME:
        return late or (stream.duration is None and len(container.streams) > 1)
    return late and container.format.name == "ogg"


def _clocked_length(path: Media, container: av.container.InputContainer, stream: av.AudioStream) -> SoundLength:
    """From the first packet to the end of the last, where the container states the last timestamp of all its streams.
    Raises Skip where it states a later one than there is."""
    first: float | None = None
    last = reached = 0.0
    with open_media(path) as again:
        for packet in demuxed(again):
            if packet.pts is None or packet.time_base is None or not packet.size:
                continue
            begin = float(packet.pts * packet.time_base)
            end = begin + float((packet.duration or 0) * packet.time_base)
            reached = max(reached, end)
            if packet.stream_index == stream.index:
                first, last = begin if first is None else min(first, begin), max(last, end)
    declared = 0.0 if container.duration is None else container.duration / av.time_base
    if not complete(reached, declared):
        raise Skip(f"cut short: {reached:.2f} of {declared:.2f} s are there")
    return SoundLength(last - (first or 0.0), stated=True)


def _count_packets(path: Media, index: int) -> float:
    with open_media(path) as container:
        stream = container.streams[index]
        total = sum(packet.duration or 0 for packet in demuxed(container, stream) if not packet.is_discard)
        return float(total * stream.time_base) if stream.time_base is not None else 0.0


def _counts_frames(path: Media) -> bool:
    """Whether an MP3 file begins with a frame that states how many follow (Xing, Info, VBRI)."""
    with path.open("rb") as file:
        head = file.read(10)
        skipped = 0
        if head[:3] == b"ID3" and len(head) == 10:
            skipped = 10 + sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        file.seek(skipped)
        frame = file.read(512)
    for tag in (b"Xing", b"Info"):
        place = frame.find(tag)
        if place >= 0:
            return bool(frame[place + 7 : place + 8] and frame[place + 7] & 1)
    return b"VBRI" in frame


def _check_bytes(path: Media) -> float | None:
    """Seconds of a WAV file as its bytes give them, where its header states them wrongly or only in a chunk that libav
    passes over; None where the header is right or the file is none. Raises Skip when bytes are missing."""
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE":
            return _check_wave(file, head, byte_count(path))
        if head[:4] == b"FORM":
            _expect_bytes(int.from_bytes(head[4:8], "big") + 8, byte_count(path))
        elif head[:4] == b".snd":
            offset, size = int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:12], "big")
            if size != 0xFFFFFFFF:
                _expect_bytes(offset + size, byte_count(path))
        elif head[:4] == b"caff":
            _check_core_audio(file, byte_count(path))
        elif head == _W64[:12] and file.read(4) == _W64[12:]:
            _expect_bytes(int.from_bytes(file.read(8), "little"), byte_count(path))
    return None


def _check_core_audio(file: BinaryIO, size: int) -> None:
    file.seek(8)
    while len(chunk := file.read(12)) == 12:
        begin, length = file.tell(), int.from_bytes(chunk[4:], "big", signed=True)
        if length < 0:  # up to the end of the file
            return
        _expect_bytes(begin + length, size)
        file.seek(begin + length)


def _check_wave(file: BinaryIO, head: bytes, size: int) -> float | None:
    order = "big" if head[:4] == b"RIFX" else "little"
    code = align = rate = speed = counted = long = 0
    while len(chunk := file.read(8)) == 8:
        begin, length = file.tell(), int.from_bytes(chunk[4:], order)  # type: ignore[arg-type]
        if chunk[:4] == b"data":
            break
        body = file.read(min(length, 64))
        numbers = [int.from_bytes(body[i : i + 2], order) for i in range(0, len(body) - 1, 2)]  # type: ignore[arg-type]
        if chunk[:4] == b"ds64" and len(body) >= 16:
            long = int.from_bytes(body[8:16], "little")
        elif chunk[:4] == b"fmt " and len(numbers) >= 8:
            code, align = numbers[0], numbers[6]
            rate, speed = numbers[2] | numbers[3] << 16, numbers[4] | numbers[5] << 16
            if order == "big":
                rate, speed = numbers[2] << 16 | numbers[3], numbers[4] << 16 | numbers[5]
            if code == 0xFFFE and len(numbers) >= 13:
                code = numbers[12]
        elif chunk[:4] == b"fact" and len(body) >= 4:
            counted = int.from_bytes(body[:4], order)  # type: ignore[arg-type]
        file.seek(begin + length + length % 2)
    else:
        return None
    there = size - begin
    if head[:4] in (b"RF64", b"BW64") and length == 0xFFFFFFFF:
        length = long
    consistent = int.from_bytes(head[4:8], order) + 8 in (size, size - 1)  # type: ignore[arg-type]
    unknown = any(low <= length <= high for low, high in _PLACEHOLDERS) or (length == 0 and there and not consistent)
    if length == 0 and consistent:
        raise Skip("empty: no sound in it")
    if unknown and (there < length or length == 0):
        if code in _PCM and align and rate:
            return there // align / rate
        return there / speed if speed else None
    _expect_bytes(begin + length, size)
    # Compressed sound ends in the middle of a block.
    return counted / rate if code not in _PCM and counted and rate else None


def _expect_bytes(stated: int, size: int) -> None:
    # A stream of unknown length has all ones there, or nothing; a missing pad byte is no harm.
    if stated not in (8, 0xFFFFFFFF + 8) and stated > size + 1:
        raise Skip(f"cut short: {size} of {stated} bytes are there")
