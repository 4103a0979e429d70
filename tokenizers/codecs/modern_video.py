"""H.265, VP9 and AV1 (codecs, A19) through PyAV, in memory and without a container."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from ..spec import SignalSpec
from .clips import from_frames, padded, to_pictures
from .modern_video_config import ModernVideoConfig
from .packets import decoded, joined, separated
from .stream import StreamCodec


class ModernVideo(StreamCodec):
    """A clip's packets, each behind its length. Parameter sets that depend on options and shape alone are not coded.

    Sides are padded to multiples of 16 (by their last row or column) and cropped after decoding. A stream that does not
    give exactly the clip's frames is undecodable.
    """

    def __init__(self, config: ModernVideoConfig, signal: SignalSpec) -> None:
        super().__init__(config, signal)
        self.config = config
        self.rate = Fraction(signal.rate or 25.0).limit_denominator(1001)
        self._header, _ = self._encode(torch.zeros(signal.channels, *signal.shape))

    def compress(self, sample: Tensor) -> bytes:
        header, packets = self._encode(sample)
        if header != self._header:
            raise RuntimeError(f"this {self.config.encoder} writes parameter sets that depend on the clip")
        return joined(packets)

    def expand(self, stream: bytes) -> Tensor:
        import av

        context: Any = av.CodecContext.create(self.config.decoder, "r")
        context.thread_count = 1
        if self._header:
            context.extradata = self._header
        return from_frames(decoded(context, separated(stream)), self.signal, self.config.multiple)

    def _encode(self, sample: Tensor) -> tuple[bytes, list[bytes]]:
        """What all clips share, and the clip's packets."""
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
        for number, picture in enumerate(to_pictures(sample, self.signal, multiple)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=self.config.format)
            frame.pts, frame.time_base = number, 1 / self.rate
            packets += [bytes(packet) for packet in context.encode(frame)]
        packets += [bytes(packet) for packet in context.encode(None)]
        return context.extradata or b"", packets
