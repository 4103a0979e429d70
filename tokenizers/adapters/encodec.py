"""EnCodec by Meta's own package, at a stated bandwidth.

Shape legend: B batch, C channels, N samples, Q codes per position, T positions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ...results.errors import UserError
from ..interface import Latents
from ..spec import Modality
from ..weights import load
from .audio_codecs_config import EnCodecConfig
from .base import Adapter
from .chunked import LOUDNESS_CODES, Chunks
from .declaration import Declaration
from .files import stored_type


class EnCodecAdapter(Adapter):
    """The 24 kHz model, or that of 48 kHz, which is stereo and codes each second by itself: the weights tell which."""

    def __init__(self, config: EnCodecConfig) -> None:
        from encodec import EncodecModel

        path = Path(config.files["weights"])
        state = load(path)
        first = "encoder.model.0.conv.conv.weight"
        stereo = state[first if first in state else f"{first}_v"].shape[1] == 2
        build = EncodecModel.encodec_model_48khz if stereo else EncodecModel.encodec_model_24khz
        self.model: Any = build(pretrained=False)
        self.model.load_state_dict(dict(state))
        self.class_name = f"EncodecModel {self.model.sample_rate // 1000} kHz"
        self._set_bandwidth(config.bandwidth)
        hop = int(self.model.encoder.hop_length)
        heads = self.model.quantizer.get_num_quantizers_for_bandwidth(self.model.frame_rate, config.bandwidth)
        self.chunks: Chunks | None = None
        if self.model.segment is not None:
            self.chunks = Chunks(length=self.model.segment_length, stride=self.model.segment_stride, hop=hop)
        self.declaration = Declaration(
            modalities=(Modality.WAVEFORM,),
            channels=self.model.channels,
            rate=float(self.model.sample_rate),
            multiple=hop,
            pad=True,
            codebook_sizes=(int(self.model.quantizer.bins),) * heads,
            coarser=((LOUDNESS_CODES,),) if self.chunks is not None else (),
            knob=f"bandwidth = {config.bandwidth:g} kbit/s",
            dtype=stored_type(config.files),
            causal=not stereo,
        )

    def _set_bandwidth(self, bandwidth: float | None) -> None:
        listed = ", ".join(f"{choice:g}" for choice in self.model.target_bandwidths)
        if bandwidth is None:
            raise UserError(f"bandwidth: missing; {self.class_name} has {listed} kbit/s, and no default is the papers'")
        try:
            self.model.set_target_bandwidth(bandwidth)
        except ValueError:
            raise UserError(f"bandwidth: {self.class_name} has {listed} kbit/s, got {bandwidth:g}") from None

    def modules(self) -> list[nn.Module]:
        return [self.model]

    def encode(self, signal: Tensor) -> Latents:
        if self.chunks is not None:
            return self.chunks.encode(signal, self.model._encode_frame, self._values)
        codes, _ = self.model._encode_frame(signal)
        return Latents(codes=codes, values=self._values(codes))

    def decode(self, latents: Latents) -> Tensor:
        if self.chunks is None:
            values = latents.values if latents.codes is None else self._values(latents.codes)
            audio: Tensor = self.model.decoder(values)
            return audio
        from encodec.utils import _linear_overlap_add

        decoded = self.chunks.decode(latents, lambda codes, scale: self.model._decode_frame((codes, scale)))
        joined: Tensor = _linear_overlap_add(decoded, self.chunks.stride)
        return joined

    def _values(self, codes: Tensor) -> Tensor:
        values: Tensor = self.model.quantizer.decode(codes.transpose(0, 1))
        return values
