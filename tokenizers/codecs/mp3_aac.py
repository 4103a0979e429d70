"""MP3 and AAC (codecs, A19) through PyAV, in memory and without a container."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..spec import SignalSpec
from .mp3_aac_config import AACConfig, MP3Config
from .packets import decoded, joined, parsed, separated
from .stream import StreamCodec, UndecodableError

# Samples of the probes by which delay and gain are measured, where the click of one lies, and the other's tone in Hz.
_PROBE, _CLICK, _TONE = 12_000, 6_000, 1000.0
# Bits per second at which a click survives at every sample rate.
_CLEAR = 320_000


class FramedAudio(StreamCodec):
    """The codec's packets up to the signal's last sample; what encoder and decoder put in front of it is removed.

    That delay is measured once, with a click: it depends on codec, rate and library. Decoded sound is aligned with the
    signal to the sample. LAME makes sound quieter before it codes it, by a factor that depends on the bitrate: it is
    measured with a tone, and the encoder is given the sound louder by as much. MP3 says itself how long a packet is;
    AAC's stand behind their lengths. A stream that gives too few samples is undecodable.
    """

    def __init__(self, config: MP3Config | AACConfig, signal: SignalSpec) -> None:
        super().__init__(config, signal)
        if signal.rate is None:
            raise ValueError(f"{config.kind} needs a sample rate")
        self.config, self.rate = config, int(signal.rate)
        self._layout = "mono" if signal.channels == 1 else "stereo"
        context = self._open(config.bitrate)
        self._extradata, self._frame = context.extradata, int(context.frame_size)
        self.delay = self._measured_delay()
        self.gain = self._measured_gain() if config.attenuates else 1.0
        # a packet gives a frame of samples, and reads none of those behind it
        self.packets = math.ceil((self.delay + signal.shape[0]) / self._frame)

    def compress(self, sample: Tensor) -> bytes:
        packets = self._encode(sample / self.gain, self.config.bitrate)[: self.packets]
        return b"".join(packets) if self.config.self_delimiting else joined(packets)

    def expand(self, stream: bytes) -> Tensor:
        length = self.signal.shape[0]
        wave = self._decode(self._split(stream))[:, self.delay : self.delay + length]
        if wave.shape[-1] < length:
            raise UndecodableError(f"{wave.shape[-1]} samples of {length}")
        return wave.clamp(-1.0, 1.0)

    def _split(self, stream: bytes) -> list[bytes]:
        import av

        if not self.config.self_delimiting:
            return separated(stream)
        return parsed(av.CodecContext.create(self.config.decoder, "r"), stream)

    def _measured_delay(self) -> int:
        click = torch.zeros(self.signal.channels, _PROBE)
        click[:, _CLICK] = 0.9
        return int(self._decode(self._encode(click, _CLEAR)).abs().sum(0).argmax()) - _CLICK

    def _measured_gain(self) -> float:
        """The factor between a tone and what comes back, by least squares, to the two decimals that LAME's have.

        It is that of one channel: the bitrate alone decides it, and the lowest have no bits for a tone in two.
        """
        if self.signal.channels > 1:
            return FramedAudio(self.config, replace(self.signal, channels=1)).gain
        tone = 0.5 * torch.sin(2 * math.pi * _TONE / self.rate * torch.arange(_PROBE)).unsqueeze(0)
        back = self._decode(self._encode(tone, self.config.bitrate))[:, self.delay :]
        steady = slice(_PROBE // 4, 3 * _PROBE // 4)
        sent, received = tone[:, steady], back[:, steady]
        return round(((sent * received).sum() / sent.square().sum()).item(), 2)

    def _encode(self, sample: Tensor, bitrate: int) -> list[bytes]:
        import av

        context = self._open(bitrate)
        # enough silence behind it that the delayed end comes out, in whole frames
        padded = F.pad(sample, (0, 3 * self._frame + -sample.shape[-1] % self._frame))
        packets: list[bytes] = []
        for number, piece in enumerate(padded.split(self._frame, dim=-1)):
            frame = av.AudioFrame.from_ndarray(piece.contiguous().numpy(), format="fltp", layout=self._layout)
            frame.sample_rate, frame.time_base = self.rate, Fraction(1, self.rate)
            frame.pts = number * self._frame
            packets += [bytes(packet) for packet in context.encode(frame)]
        return [*packets, *(bytes(packet) for packet in context.encode(None))]

    def _decode(self, packets: list[bytes]) -> Tensor:
        """Packets to `[C, samples]`, the delay still in front."""
        import av

        context: Any = av.CodecContext.create(self.config.decoder, "r")
        context.sample_rate, context.layout = self.rate, self._layout
        if self._extradata:
            context.extradata = self._extradata
        frames = decoded(context, packets)
        if any(len(frame.layout.channels) != self.signal.channels for frame in frames) or not frames:
            raise UndecodableError("no sound of these channels")
        return torch.cat([torch.from_numpy(frame.to_ndarray()).float() for frame in frames], dim=-1)

    def _open(self, bitrate: int) -> Any:
        import av

        context: Any = av.CodecContext.create(self.config.encoder, "w")
        context.sample_rate, context.layout, context.format = self.rate, self._layout, "fltp"
        context.bit_rate, context.time_base = bitrate, Fraction(1, self.rate)
        context.flags |= av.codec.context.Flags.global_header
        context.open()
        return context
