"""Byte streams as latents: what all codecs that write bytes share.

Shape legend: B batch, L longest stream, C channels.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from ...results.errors import UserError
from ..interface import Latents
from ..spec import Modality, SignalSpec
from .base import Codec
from .stream_config import StreamConfig


class UndecodableError(Exception):
    """A byte stream that describes no signal."""


class StreamCodec(Codec):
    """Codes `[B, 1, L]`: the bytes of each sample, zeros behind its `lengths`; no values.

    A stream of exactly one byte more than the raw sample is a 0 byte and the raw sample: what the codec would have made
    longer. A stream that does not decode becomes the zero signal (mid-grey, silence) and counts as `undecodable`.
    """

    def __init__(self, config: StreamConfig, signal: SignalSpec) -> None:
        super().__init__(config, signal)
        (grid,) = config.grids(signal)
        self.kind = config.kind
        self.longest, self.raw_bytes = grid.shape[0], config.raw_bytes(signal)

    @abstractmethod
    def compress(self, sample: Tensor) -> bytes:
        """`[C, *signal]` in [-1, 1] on the CPU to bytes, without what all samples share."""

    @abstractmethod
    def expand(self, stream: bytes) -> Tensor:
        """Any bytes to `[C, *signal]` float32, the inverse of `compress`. Raises UndecodableError."""

    def encode(self, signal: Tensor) -> Latents:
        """Raises UserError for a sample that needs more than `max_bytes`."""
        streams = [self._stream(sample) for sample in signal.detach().float().clamp(-1.0, 1.0).cpu()]
        codes = torch.zeros(len(streams), 1, self.longest, dtype=torch.uint8)
        for row, stream in zip(codes, streams, strict=True):
            row[0, : len(stream)] = torch.frombuffer(bytearray(stream), dtype=torch.uint8)
        lengths = torch.tensor([len(stream) for stream in streams])
        return Latents(codes=codes.to(signal.device).long(), lengths=lengths.to(signal.device))

    def decode(self, latents: Latents) -> Tensor:
        """From codes and lengths; without lengths every position counts."""
        codes = latents.codes
        if codes is None:
            raise ValueError("a byte stream needs codes")
        rows = codes[:, 0].to(torch.uint8).cpu()
        lengths = [rows.shape[1]] * len(rows) if latents.lengths is None else latents.lengths.tolist()
        samples = [self._signal(row[:length].numpy().tobytes()) for row, length in zip(rows, lengths, strict=True)]
        return torch.stack(samples).to(codes.device)

    def _stream(self, sample: Tensor) -> bytes:
        stream = self.compress(sample)
        if len(stream) > self.raw_bytes or not stream:
            stream = b"\0" + to_raw(sample, self.signal)
        if len(stream) > self.longest:
            raise UserError(
                f"codec {self.kind}: a sample takes {len(stream)} bytes, more than max_bytes = {self.longest}; "
                "raise max_bytes or lower the quality"
            )
        return stream

    def _signal(self, stream: bytes) -> Tensor:
        if len(stream) == self.raw_bytes + 1:
            return from_raw(stream[1:], self.signal)
        try:
            return self.expand(stream)
        except UndecodableError:
            self.undecodable += 1
            return torch.zeros(self.signal.channels, *self.signal.shape)


def to_bytes(sample: Tensor) -> Tensor:
    """[-1, 1] to uint8, rounded and clamped."""
    return ((sample + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)


def from_bytes(pixels: Tensor) -> Tensor:
    """uint8 to [-1, 1]."""
    return pixels.float() / 127.5 - 1.0


def to_raw(sample: Tensor, signal: SignalSpec) -> bytes:
    """A sample as it is: uint8, and int16 for waveforms."""
    if signal.modality is Modality.WAVEFORM:
        return (sample * 32767.0).round().to(torch.int16).numpy().tobytes()
    return to_bytes(sample).numpy().tobytes()


def from_raw(raw: bytes, signal: SignalSpec) -> Tensor:
    """The inverse of `to_raw`."""
    wave = signal.modality is Modality.WAVEFORM
    flat = torch.frombuffer(bytearray(raw), dtype=torch.int16 if wave else torch.uint8)
    shaped = flat.view(signal.channels, *signal.shape)
    return (shaped.float() / 32767.0).clamp(-1.0, 1.0) if wave else from_bytes(shaped)
