"""Opus (codecs, A19): RFC 6716, libopus through PyAV, in memory and without a container."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..spec import SignalSpec
from .opus_config import OpusConfig
from .stream import StreamCodec, UndecodableError

_LEGAL_RATES = (8000, 12000, 16000, 24000, 48000)
_DECODED_RATE = 48000


class Opus(StreamCodec):
    """Packets of 20 ms, each behind its length in one or two bytes (RFC 6716, section 3.2.1).

    A signal at another rate than Opus knows is resampled to the next higher one; what is decoded (at 48 kHz) is
    resampled to the signal's rate. The encoder's delay is trimmed. A stream that does not give exactly the signal's
    packets is undecodable.
    """

    def __init__(self, config: OpusConfig, signal: SignalSpec) -> None:
        super().__init__(config, signal)
        if signal.rate is None:
            raise ValueError("Opus needs a sample rate")
        self.bitrate, self.rate = config.bitrate, int(signal.rate)
        self.coded_rate = next((rate for rate in _LEGAL_RATES if rate >= self.rate), _DECODED_RATE)
        self.frame = self.coded_rate // 50
        _, self._delay = self._open()  # at 48 kHz
        coded = math.ceil(signal.shape[0] * self.coded_rate / self.rate)
        self.packets = math.ceil((coded + self._delay * self.coded_rate / _DECODED_RATE) / self.frame)

    def compress(self, sample: Tensor) -> bytes:
        import av

        coded = _resampled(sample, self.rate, self.coded_rate)
        coded = F.pad(coded, (0, self.packets * self.frame - coded.shape[-1]))
        context, _ = self._open()
        packets = []
        for number, piece in enumerate(coded.split(self.frame, dim=-1)):
            interleaved = piece.T.reshape(1, -1).contiguous().numpy()
            frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=self._layout)
            frame.sample_rate, frame.time_base = self.coded_rate, Fraction(1, self.coded_rate)
            frame.pts = number * self.frame
            packets += [bytes(packet) for packet in context.encode(frame)]
        packets += [bytes(packet) for packet in context.encode(None)]
        return b"".join(_framed(packet) for packet in packets[: self.packets])

    def expand(self, stream: bytes) -> Tensor:
        import av

        packets = _unframed(stream)
        if len(packets) != self.packets:
            raise UndecodableError(f"{len(packets)} packets of {self.packets}")
        context = av.CodecContext.create("libopus", "r")
        context.sample_rate, context.layout = _DECODED_RATE, self._layout
        try:
            frames = [frame for packet in packets for frame in context.decode(av.Packet(packet))]
            frames += context.decode(None)
        except (av.FFmpegError, EOFError) as error:
            raise UndecodableError(str(error)) from None
        if not frames:
            raise UndecodableError("no sound")
        sound = torch.cat([torch.from_numpy(frame.to_ndarray()).flatten() for frame in frames])
        wave = sound.view(-1, self.signal.channels).T.float() / 32768.0
        length = self.signal.shape[0]
        wave = _resampled(wave[:, self._delay :], _DECODED_RATE, self.rate)[:, :length]
        if wave.shape[-1] < length:
            raise UndecodableError(f"{wave.shape[-1]} samples of {length}")
        return wave.clamp(-1.0, 1.0)

    @property
    def _layout(self) -> str:
        return "mono" if self.signal.channels == 1 else "stereo"

    def _open(self) -> tuple[Any, int]:
        """An encoder, and its delay in samples at 48 kHz, which it writes into its header (RFC 7845, section 5.1)."""
        import av

        context: Any = av.CodecContext.create("libopus", "w")
        context.sample_rate, context.layout, context.format = self.coded_rate, self._layout, "flt"
        context.bit_rate, context.time_base = self.bitrate, Fraction(1, self.coded_rate)
        context.options = {"application": "audio", "frame_duration": "20"}
        context.open()
        return context, int.from_bytes(bytes(context.extradata)[10:12], "little")


def _resampled(wave: Tensor, source: int, target: int) -> Tensor:
    """`[C, N]` to `[C, ceil(N target / source)]`, windowed sinc."""
    if source == target:
        return wave
    from torchaudio.functional import resample

    resampled: Tensor = resample(wave, source, target)
    return resampled


def _framed(packet: bytes) -> bytes:
    size = len(packet)
    head = bytes([size]) if size < 252 else bytes([252 + (size & 3), (size - 252 - (size & 3)) >> 2])
    return head + packet


def _unframed(stream: bytes) -> list[bytes]:
    packets, place = [], 0
    while place < len(stream):
        size = stream[place]
        place += 1
        if size >= 252:
            if place >= len(stream):
                raise UndecodableError("cut inside a length")
            size += 4 * stream[place]
            place += 1
        if size == 0 or place + size > len(stream):
            raise UndecodableError("cut inside a packet")
        packets.append(stream[place : place + size])
        place += size
    return packets
