"""DAC by the package descript-audio-codec, always in eval mode: in training mode it ignores n_quantizers.

Shape legend: B batch, N samples, Q codes per position, T positions, D embedding.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...results.errors import UserError
from ..interface import Latents
from ..spec import Modality
from ..weights import load
from .audio_codecs_config import DACConfig
from .base import Adapter
from .declaration import Declaration
from .files import licence_of, stored_type, weights_of


class DACAdapter(Adapter):
    """The model, with the first `n_quantizers` of its codebooks."""

    class_name = "DAC"

    def __init__(self, config: DACConfig) -> None:
        from dac import DAC

        path = weights_of(config.files)
        arguments = self._arguments(config, path)
        self.model: Any = DAC(**arguments)
        self.model.load_state_dict(dict(load(path)))
        most = int(self.model.n_codebooks)
        self.heads = most if config.n_quantizers is None else config.n_quantizers
        if not 1 <= self.heads <= most:
            raise UserError(f"n_quantizers: DAC has 1 to {most}, got {self.heads}")
        self.declaration = Declaration(
            modalities=(Modality.WAVEFORM,),
            channels=1,
            rate=float(self.model.sample_rate),
            multiple=int(self.model.hop_length),
            pad=True,
            codebook_sizes=(int(self.model.codebook_size),) * self.heads,
            knob=f"n_quantizers = {self.heads}",
            dtype=stored_type(config.files),
            licence=licence_of(path.parent, {}),
        )

    @staticmethod
    def _arguments(config: DACConfig, path: Path) -> dict[str, Any]:
        """What the class is constructed with: of config.json, or of the metadata that the package saves."""
        if "config.json" in config.files:
            stated: dict[str, Any] = json.loads(Path(config.files["config.json"]).read_text(encoding="utf-8"))
            return stated
        try:
            return dict(torch.load(path, map_location="cpu", weights_only=True)["metadata"]["kwargs"])
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
            raise UserError(
                f"{path}: holds no metadata.kwargs as DAC.save(path, package=False) writes them ({reason})"
            ) from None

    def modules(self) -> list[nn.Module]:
        return [self.model]

    def encode(self, signal: Tensor) -> Latents:
        values, codes, *_ = self.model.encode(signal, n_quantizers=self.heads)
        return Latents(codes=codes, values=values)

    def decode(self, latents: Latents) -> Tensor:
        values = latents.values if latents.codes is None else self.model.quantizer.from_codes(latents.codes)[0]
        audio: Tensor = self.model.decode(values)
        return audio
