"""H.264 (codecs, A19): x264 and FFmpeg's decoder through PyAV, in memory and without a container."""

from __future__ import annotations

import re
from fractions import Fraction

import torch
from torch import Tensor

from ..spec import SignalSpec
from .clips import from_frames, padded, to_pictures
from .h264_config import H264Config
from .packets import decoded, parsed
from .stream import StreamCodec

# Kinds of NAL units (ITU-T H.264, table 7-1).
_SEI, _SPS, _PPS = 6, 7, 8
_START = b"\x00\x00\x01"


class H264(StreamCodec):
    """The Annex B stream of a clip's slices.

    Parameter sets depend on the options and the shape only, and x264's comments say nothing of the picture: neither is
    coded. Sides are padded to even ones (by their last row or column) and cropped after decoding. A stream that does
    not give exactly the clip's frames is undecodable.
    """

    def __init__(self, config: H264Config, signal: SignalSpec) -> None:
        super().__init__(config, signal)
        self.config = config
        self.rate = Fraction(signal.rate or 25.0).limit_denominator(1001)
        blank = self._units(torch.zeros(signal.channels, *signal.shape))
        self._header = b"".join(unit for kind, unit in blank if kind in (_SPS, _PPS))

    def compress(self, sample: Tensor) -> bytes:
        units = self._units(sample)
        if b"".join(unit for kind, unit in units if kind in (_SPS, _PPS)) != self._header:
            raise RuntimeError("this x264 writes parameter sets that depend on the clip")
        return b"".join(unit for kind, unit in units if kind not in (_SEI, _SPS, _PPS))

    def expand(self, stream: bytes) -> Tensor:
        import av

        context = av.CodecContext.create("h264", "r")
        context.thread_count = 1
        return from_frames(decoded(context, parsed(context, self._header + stream)), self.signal)

    def _units(self, sample: Tensor) -> list[tuple[int, bytes]]:
        """The NAL units of an encoded clip, each with its kind."""
        import av

        _, height, width = self.signal.shape
        context = av.CodecContext.create("libx264", "w")
        context.width, context.height, context.pix_fmt = padded(width, 2), padded(height, 2), self.config.pixels
        context.framerate, context.time_base = self.rate, 1 / self.rate
        context.thread_count = 1
        context.options = {"crf": str(self.config.crf), "preset": self.config.preset}
        data = b""
        for number, picture in enumerate(to_pictures(sample, self.signal)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=self.config.pixels)
            frame.pts, frame.time_base = number, 1 / self.rate
            data += b"".join(bytes(packet) for packet in context.encode(frame))
        data += b"".join(bytes(packet) for packet in context.encode(None))
        return split_units(data)


def split_units(data: bytes) -> list[tuple[int, bytes]]:
    """An Annex B stream as its NAL units in order: kind, and bytes from the three-byte start code on."""
    starts = [match.start() for match in re.finditer(re.escape(_START), data)]
    ends = [*starts[1:], len(data)]
    # A zero byte before a start code belongs to neither unit.
    return [(data[start + 3] & 31, data[start:end].rstrip(b"\0")) for start, end in zip(starts, ends, strict=True)]
