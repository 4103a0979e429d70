"""Audio codecs of transformers: EnCodec, DAC, Mimi, X-Codec, each at a stated rate.

Shape legend: B batch, C channels, N samples, Q codes per position, T positions, D embedding.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...results.errors import UserError
from ..interface import Latents
from ..spec import Modality
from .base import Adapter
from .chunked import LOUDNESS_CODES, Chunks
from .declaration import Declaration
from .files import all_loaded, licence_of, stored_type
from .transformers_config import CLASSES, TransformersConfig


def TransformersAdapter(config: TransformersConfig) -> Adapter:
    """The adapter of the folder's class."""
    stated = json.loads(Path(config.files["config.json"]).read_text(encoding="utf-8"))
    return _ADAPTERS[stated["model_type"]](config, stated)


class _Codec(Adapter):
    """What the four share: loading, what they declare, and the rate that has to be said."""

    hop: int
    causal = False

    def __init__(self, config: TransformersConfig, stated: dict[str, Any]) -> None:
        import transformers

        folder = Path(config.files["config.json"]).parent
        self.config = config
        self.class_name = CLASSES[stated["model_type"]]
        loaded = getattr(transformers, self.class_name).from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
        self.model: Any = all_loaded(loaded, self.class_name)
        knob, heads = self.rate()
        self.heads = heads
        self.declaration = Declaration(
            modalities=(Modality.WAVEFORM,),
            channels=self.channels(),
            rate=self.sample_rate(),
            multiple=self.positions(),
            pad=True,
            codebook_sizes=(int(self.model.config.codebook_size),) * heads,
            coarser=self.coarser(),
            knob=knob,
            dtype=stored_type(config.files),
            licence=licence_of(folder, stated),
            causal=self.causal,
        )

    def modules(self) -> list[nn.Module]:
        return [self.model]

    def channels(self) -> int:
        """Of the sounds it takes."""
        return 1

    def sample_rate(self) -> float:
        """In Hz."""
        return float(self.model.config.sampling_rate)

    def positions(self) -> int:
        """Samples per latent position."""
        return int(self.model.config.hop_length)

    def coarser(self) -> tuple[tuple[int, ...], ...]:
        """Codebooks of a grid before that of the codes."""
        return ()

    def rate(self) -> tuple[str, int]:
        """The setting that decides the rate, and how many codes a position has with it. Raises UserError."""
        raise NotImplementedError

    def _bandwidth(self) -> float:
        choices = list(map(float, self.model.config.target_bandwidths))
        chosen = self.config.bandwidth
        listed = ", ".join(f"{choice:g}" for choice in choices)
        if chosen is None:
            raise UserError(f"bandwidth: missing; {self.class_name} has {listed} kbit/s, and no default is the papers'")
        if float(chosen) not in choices:
            raise UserError(f"bandwidth: {self.class_name} has {listed} kbit/s, got {chosen:g}")
        if self.config.n_quantizers is not None:
            raise UserError(f"n_quantizers: the rate of {self.class_name} is its bandwidth")
        return float(chosen)

    def _quantizers(self, most: int, *, default: int | None = None) -> int:
        chosen = self.config.n_quantizers or default
        if self.config.bandwidth is not None:
            raise UserError(f"bandwidth: the rate of {self.class_name} is n_quantizers")
        if chosen is None:
            raise UserError(
                f"n_quantizers: missing; {self.class_name} has up to {most}, and papers use fewer: say which"
            )
        if chosen > most:
            raise UserError(f"n_quantizers: {self.class_name} has {most}, got {chosen}")
        return chosen


class _Dac(_Codec):
    def rate(self) -> tuple[str, int]:
        heads = self._quantizers(self.model.config.n_codebooks, default=self.model.config.n_codebooks)
        return f"n_quantizers = {heads}", heads

    def encode(self, signal: Tensor) -> Latents:
        output = self.model.encode(signal, n_quantizers=self.heads)
        return Latents(codes=output.audio_codes, values=output.quantized_representation)

    def decode(self, latents: Latents) -> Tensor:
        """`decode` drops the axis of channels, which is put back."""
        if latents.codes is not None:
            output = self.model.decode(audio_codes=latents.codes)
        else:
            output = self.model.decode(quantized_representation=latents.values)
        audio: Tensor = output.audio_values
        return audio.unsqueeze(1)


class _Mimi(_Codec):
    causal = True

    def positions(self) -> int:
        return round(self.model.config.sampling_rate / self.model.config.frame_rate)

    def rate(self) -> tuple[str, int]:
        heads = self._quantizers(self.model.config.num_quantizers)
        return f"n_quantizers = {heads}", heads

    def encode(self, signal: Tensor) -> Latents:
        codes = self.model.encode(signal, num_quantizers=self.heads).audio_codes
        return Latents(codes=codes, values=self.model.quantizer.decode(codes))

    def decode(self, latents: Latents) -> Tensor:
        if latents.codes is not None:
            audio: Tensor = self.model.decode(latents.codes).audio_values
        else:
            audio = self.model.decoder(latents.values).audio_values
        return audio


class _Xcodec(_Codec):
    def sample_rate(self) -> float:
        return float(self.model.config.sample_rate)

    def rate(self) -> tuple[str, int]:
        bandwidth = self._bandwidth()
        heads = self.model.quantizer.get_num_quantizers_for_bandwidth(bandwidth)
        return f"bandwidth = {bandwidth:g} kbit/s", int(heads)

    def encode(self, signal: Tensor) -> Latents:
        codes = self.model.encode(signal, bandwidth=self.config.bandwidth).audio_codes
        return Latents(codes=codes, values=self.model.quantizer.decode(codes.transpose(0, 1)))

    def decode(self, latents: Latents) -> Tensor:
        if latents.codes is not None:
            audio: Tensor = self.model.decode(latents.codes).audio_values
        else:
            assert latents.values is not None
            audio = self.model.acoustic_decoder(self.model.fc2(latents.values.mT).mT)
        return audio


class _Encodec(_Codec):
    """The 48 kHz model works in chunks, with a loudness each."""

    def channels(self) -> int:
        return int(self.model.config.audio_channels)

    def rate(self) -> tuple[str, int]:
        bandwidth = self._bandwidth()
        self.causal = bool(self.model.config.use_causal_conv) and self._chunks is None
        heads = self.model.quantizer.get_num_quantizers_for_bandwidth(bandwidth)
        return f"bandwidth = {bandwidth:g} kbit/s", int(heads)

    def coarser(self) -> tuple[tuple[int, ...], ...]:
        return ((LOUDNESS_CODES,),) if self._chunks is not None else ()

    @property
    def _chunks(self) -> Chunks | None:
        config = self.model.config
        if config.chunk_length is None:
            return None
        return Chunks(length=config.chunk_length, stride=config.chunk_stride or 1, hop=config.hop_length)

    def encode(self, signal: Tensor) -> Latents:
        bandwidth = self.config.bandwidth
        if self._chunks is not None:
            return self._chunks.encode(signal, lambda part: self.model._encode_frame(part, bandwidth), self._values)
        codes, _ = self.model._encode_frame(signal, bandwidth)
        return Latents(codes=codes, values=self._values(codes))

    def decode(self, latents: Latents) -> Tensor:
        if self._chunks is None:
            values = latents.values if latents.codes is None else self._values(latents.codes)
            audio: Tensor = self.model.decoder(values)
            return audio
        decoded = self._chunks.decode(latents, self.model._decode_frame)
        joined: Tensor = self.model._linear_overlap_add(decoded, self._chunks.stride)
        return joined

    def _values(self, codes: Tensor) -> Tensor:
        values: Tensor = self.model.quantizer.decode(codes.transpose(0, 1))
        return values


_Build = Callable[[TransformersConfig, dict[str, Any]], Adapter]
_ADAPTERS: dict[str, _Build] = {"encodec": _Encodec, "dac": _Dac, "mimi": _Mimi, "xcodec": _Xcodec}
