"""SNAC: codes at several rates, coarse to fine, and a decoder that draws noise.

Shape legend: B batch, D embedding, T positions of a level, N samples.
"""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..interface import Latents
from ..spec import Modality
from ..weights import load
from .audio_codecs_config import SNACConfig
from .base import Adapter
from .declaration import Declaration
from .files import licence_of, stored_type, weights_of


class SNACAdapter(Adapter):
    """The model, with its noise seeded or off. A level's values are what its codes stand for, at its own rate."""

    class_name = "SNAC"

    def __init__(self, config: SNACConfig) -> None:
        from snac import SNAC
        from snac.layers import NoiseBlock

        path = Path(config.files["config.json"])
        self.model: Any = SNAC.from_config(str(path))
        self.model.load_state_dict(dict(load(weights_of(config.files))))
        blocks = [module for module in self.model.modules() if isinstance(module, NoiseBlock)]
        for seed, block in enumerate(blocks):
            block.forward = partial(_with_noise, block.linear, seed) if config.noise == "seeded" else _same
        model, levels = self.model, self.model.n_codebooks
        self.declaration = Declaration(
            modalities=(Modality.WAVEFORM,),
            channels=1,
            rate=float(model.sampling_rate),
            multiple=int(model.hop_length) * math.lcm(model.vq_strides[0], model.attn_window_size or 1),
            pad=True,
            codebook_sizes=(int(model.codebook_size),),
            coarser=((int(model.codebook_size),),) * (levels - 1),
            knob=f"{levels} levels, all of them" + (f"; the decoder's noise is {config.noise}" if blocks else ""),
            dtype=stored_type(config.files),
            licence=licence_of(path.parent, json.loads(path.read_text(encoding="utf-8"))),
        )

    def modules(self) -> list[nn.Module]:
        return [self.model]

    def encode(self, signal: Tensor) -> Latents:
        coded = zip(self.model.encode(signal), self.model.quantizer.quantizers, strict=True)
        levels = [Latents(codes=codes.unsqueeze(1), values=_meaning(level, codes)) for codes, level in coded]
        return Latents(codes=levels[0].codes, values=levels[0].values, rest=tuple(levels[1:]))

    def decode(self, latents: Latents) -> Tensor:
        parts = []
        for level, quantizer in zip(latents.levels, self.model.quantizer.quantizers, strict=True):
            values = level.values if level.codes is None else _meaning(quantizer, level.codes.squeeze(1))
            assert values is not None
            parts.append(values.repeat_interleave(quantizer.stride, dim=-1))
        decoded: Tensor = self.model.decoder(sum(parts))
        return decoded


def _meaning(quantizer: Any, codes: Tensor) -> Tensor:
    """`[B, D, T]` of codes `[B, T]`."""
    values: Tensor = quantizer.out_proj(quantizer.decode_code(codes))
    return values


def _with_noise(linear: nn.Module, seed: int, x: Tensor) -> Tensor:
    """What a noise block does to `[B, D, N]`, with one row of noise for the whole batch, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, 1, x.shape[-1], generator=generator).to(x)
    mixed: Tensor = x + noise * linear(x)
    return mixed


def _same(x: Tensor) -> Tensor:
    return x
