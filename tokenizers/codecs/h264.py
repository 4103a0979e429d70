"""H.264 (codecs, A19): x264 and FFmpeg's decoder through PyAV, in memory and without a container."""

from __future__ import annotations

import re
from fractions import Fraction

import torch
from torch import Tensor
from torch.nn import functional as F

from ..spec import SignalSpec
from .h264_config import H264Config
from .stream import StreamCodec, UndecodableError, from_bytes, to_bytes

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
        frames = []
        try:
            for packet in (*context.parse(self._header + stream), *context.parse(None)):
                frames += context.decode(packet)
            frames += context.decode(None)
        except (av.FFmpegError, EOFError) as error:
            raise UndecodableError(str(error)) from None
        count, height, width = self.signal.shape
        if len(frames) != count or any((f.height, f.width) != (height + height % 2, width + width % 2) for f in frames):
            raise UndecodableError(f"{len(frames)} frames of {count}")
        clip = torch.stack([torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in frames])  # [T, H, W, 3]
        pixels = from_bytes(clip[:, :height, :width].movedim(-1, 0))
        return pixels if self.signal.channels == 3 else pixels.mean(0, keepdim=True)

    def _units(self, sample: Tensor) -> list[tuple[int, bytes]]:
        """The NAL units of an encoded clip, each with its kind."""
        import av

        _, height, width = self.signal.shape
        pixels = to_bytes(sample).expand(3, *self.signal.shape)
        if height % 2 or width % 2:
            odd = pixels.movedim(1, 0).float()
            pixels = F.pad(odd, (0, width % 2, 0, height % 2), mode="replicate").to(torch.uint8).movedim(0, 1)
        context = av.CodecContext.create("libx264", "w")
        context.width, context.height, context.pix_fmt = width + width % 2, height + height % 2, self.config.pixels
        context.framerate, context.time_base = self.rate, 1 / self.rate
        context.thread_count = 1
        context.options = {"crf": str(self.config.crf), "preset": self.config.preset}
        data = b""
        for number, picture in enumerate(pixels.movedim(0, -1).contiguous().numpy()):
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
