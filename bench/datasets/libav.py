"""Opening, demuxing and decoding through PyAV: the one place that calls it. Needs no torch.

PyAV itself stumbles over odd files (a stream without a decoder lacks its attributes). That is the file's fault and is
told as one; the wrapping is around PyAV's calls alone, so that ours keep their tracebacks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av

from .media import Media, for_libav
from .source import Skip

_STUMBLES = (AssertionError, AttributeError, IndexError, KeyError, OverflowError, TypeError, ZeroDivisionError)
NO_DECODER = "unsupported or damaged: no decoder for its codec; convert it"
# Containers that state their last timestamp as their length, wherever their clock starts; some writers state what is
# played.
STATES_LAST_TIME = frozenset({"asf", "matroska,webm", "nut"})
_UNREADABLE = "damaged: its container can't be read"
_UNDECODABLE = "damaged: its data can't be decoded"


def open_media(media: Media | Any) -> av.container.InputContainer:
    """The file (or what has its bytes as one), to be closed by the caller. Raises Skip, and what PyAV raises."""
    file = media if hasattr(media, "read") else for_libav(media)
    try:
        return av.open(file, "r", metadata_errors="replace")  # old WAV and AVI files have titles in other encodings
    except _STUMBLES:
        raise Skip(_UNREADABLE) from None


def demuxed(container: av.container.InputContainer, *streams: av.stream.Stream) -> Iterator[av.Packet]:
    """The packets of the streams (of all without one), the last ones empty. Raises Skip, and what PyAV raises."""
    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets, None)
        except IndexError:
            return  # a stream that turned up after the file was opened is missed where decoders are emptied, at the end
        except _STUMBLES:
            raise Skip(_UNREADABLE) from None
        if packet is None:
            return
        yield packet


def frames_of(packet: av.Packet, decoder: Any = None) -> list[Any]:
    """The frames that come out of the decoder (its stream's own by default) for a packet. Raises Skip, and what PyAV
    raises."""
    try:
        return packet.decode() if decoder is None else decoder.decode(packet)
    except _STUMBLES:
        raise Skip(_UNDECODABLE) from None
