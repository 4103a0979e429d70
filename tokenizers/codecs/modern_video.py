"""H.265, VP9 and AV1 (codecs, A19) through PyAV, in memory and without a container."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from ..spec import SignalSpec
from .clips import from_frames, padded, to_pictures
from .h264 import split_units
from .modern_video_config import ModernVideoConfig
from .packets import decoded, joined, parsed, separated
from .stream import StreamCodec, UndecodableError

# Kinds of NAL units from here on are parameter sets, delimiters and comments (ITU-T H.265, table 7-1).
_FIRST_NO_SLICE = 32
# Kinds of OBUs (AV1 specification, section 6.2.2).
_SEQUENCE_HEADER, _DELIMITER = 1, 2


class ModernVideo(StreamCodec):
    """A clip's packets, each behind its length (VP9's do not say where they end).

    Parameter sets that depend on options and shape alone are not coded. Sides are padded to multiples of 16 (by their
    last row or column) and cropped after decoding. A stream that does not give exactly the clip's frames is
    undecodable.
    """

    def __init__(self, config: ModernVideoConfig, signal: SignalSpec) -> None:
        super().__init__(config, signal)
        self.config = config
        self.rate = Fraction(signal.rate or 25.0).limit_denominator(1001)
        self._header, _ = self.split(*self._encode(torch.zeros(signal.channels, *signal.shape)))

    def split(self, header: bytes, packets: list[bytes]) -> tuple[bytes, bytes]:
        """What all clips share, and the stream of one; from the encoder's header and packets."""
        return header, joined(packets)

    def packets(self, context: Any, stream: bytes) -> list[bytes]:
        """What the decoder reads: the inverse of `split`. Raises UndecodableError."""
        return separated(stream)

    def compress(self, sample: Tensor) -> bytes:
        header, stream = self.split(*self._encode(sample))
        if header != self._header:
            raise RuntimeError(f"this {self.config.encoder} writes parameter sets that depend on the clip")
        return stream

    def expand(self, stream: bytes) -> Tensor:
        import av

        context: Any = av.CodecContext.create(self.config.decoder, "r")
        context.thread_count = 1
        return from_frames(decoded(context, self.packets(context, stream)), self.signal, self.config.multiple)

    def _encode(self, sample: Tensor) -> tuple[bytes, list[bytes]]:
        """The encoder's header, and the clip's packets."""
        import av

        os.environ.setdefault("SVT_LOG", "1")  # errors only: it writes to standard error by itself
        multiple, (_, height, width) = self.config.multiple, self.signal.shape
        context: Any = av.CodecContext.create(self.config.encoder, "w")
        context.width, context.height = padded(width, multiple), padded(height, multiple)
        context.pix_fmt = self.config.format
        context.framerate, context.time_base, context.thread_count = self.rate, 1 / self.rate, 1
        context.options = self.config.options
        context.flags |= av.codec.context.Flags.global_header
        packets: list[bytes] = []
        with scheduling_unchanged():
            context.open()
        for number, picture in enumerate(to_pictures(sample, self.signal, multiple)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=self.config.format)
            frame.pts, frame.time_base = number, 1 / self.rate
            packets += [bytes(packet) for packet in context.encode(frame)]
        packets += [bytes(packet) for packet in context.encode(None)]
        return context.extradata or b"", packets


class H265(ModernVideo):
    """The Annex B stream of a clip's slices: start codes say where they end. Comments are not coded."""

    def split(self, header: bytes, packets: list[bytes]) -> tuple[bytes, bytes]:
        units = [unit for _, unit in split_units(b"".join(packets))]
        return header, b"".join(unit for unit in units if unit[3] >> 1 & 63 < _FIRST_NO_SLICE)

    def packets(self, context: Any, stream: bytes) -> list[bytes]:
        return parsed(context, self._header + stream)


class AV1(ModernVideo):
    """The low-overhead stream (AV1 specification, section 5): units with sizes, a delimiter before each time.

    The sequence header depends on options and shape alone and is not coded.
    """

    def split(self, header: bytes, packets: list[bytes]) -> tuple[bytes, bytes]:
        units = split_obus(b"".join(packets))
        shared = {unit for kind, unit in units if kind == _SEQUENCE_HEADER}
        return b"".join(sorted(shared)), b"".join(unit for kind, unit in units if kind != _SEQUENCE_HEADER)

    def packets(self, context: Any, stream: bytes) -> list[bytes]:
        times: list[bytes] = []
        for kind, unit in split_obus(stream):
            if kind == _DELIMITER:
                times.append(unit if times else unit + self._header)
            elif times:
                times[-1] += unit
            else:
                raise UndecodableError("no delimiter at the start")
        return times


@contextmanager
def scheduling_unchanged() -> Iterator[None]:
    """Threads that turn real-time inside are set back to how the caller is scheduled.

    SVT-AV1, started by root (as in most containers), asks for SCHED_FIFO at the highest priority for its own threads
    and for the one that opens it: the job would hold its core against everything else on the machine, to its end.
    """
    if not hasattr(os, "sched_setscheduler") or not os.path.isdir("/proc/self/task"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for thread in map(int, os.listdir("/proc/self/task")):
            with suppress(OSError):  # a thread may have ended
                if os.sched_getscheduler(thread) in (os.SCHED_FIFO, os.SCHED_RR):
                    os.sched_setscheduler(thread, policy, parameters)


def split_obus(data: bytes) -> list[tuple[int, bytes]]:
    """An AV1 stream's units in order: kind and bytes. Raises UndecodableError for one without a size, or cut off."""
    units, place = [], 0
    while place < len(data):
        head = data[place]
        start, place, size = place, place + 1 + (head >> 2 & 1), 0
        for shift in range(0, 56, 7):  # leb128, the least significant bits first
            if not head & 2 or place >= len(data):
                raise UndecodableError("a unit without a size")
            size, place = size | (data[place] & 127) << shift, place + 1
            if not data[place - 1] & 128:
                break
        place += size
        if place > len(data):
            raise UndecodableError("cut inside a unit")
        units.append((head >> 3 & 15, data[start:place]))
    return units
