"""Autoencoders of diffusers: each class encodes, decodes and is normalised in its own way.

`encode` and `decode` of diffusers never normalise: its pipelines do. What a prior saw follows from the configuration
(`scaling_factor`, `shift_factor`, `latents_mean`, `latents_std`), from buffers (LTX) or from a batch norm (FLUX.2).

Shape legend: B batch, C channels, T frames, D latent channels.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..interface import Latents
from ..spec import Modality
from .base import Adapter
from .declaration import Declaration, Normaliser
from .diffusers_config import DiffusersConfig
from .diffusers_video import VIDEO, Cosmos
from .files import all_loaded, licence_of, stored_type
from .normalisers import batch_norm, inside, scale_and_shift

_SWITCHES = ("use_tiling", "use_slicing", "use_framewise_encoding", "use_framewise_decoding")
_IMAGE, _SOUND = (Modality.IMAGE,), (Modality.WAVEFORM,)


@dataclass(frozen=True, kw_only=True)
class Family:
    """How one class wants to be called: what it declares of a loaded model, and its own way to encode and decode."""

    declare: Callable[[Any], dict[str, Any]]
    encode: Callable[[DiffusersAdapter, Tensor], Latents] | None = None
    decode: Callable[[DiffusersAdapter, Latents], Tensor] | None = None
    tiles: bool = False


class DiffusersAdapter(Adapter):
    """The model in a folder, with tiling, slicing and frame-wise coding off."""

    def __init__(self, config: DiffusersConfig) -> None:
        import diffusers

        folder = Path(config.files["config.json"]).parent
        stated = json.loads(Path(config.files["config.json"]).read_text(encoding="utf-8"))
        self.class_name = stated["_class_name"]
        self.config = config
        self.family = FAMILIES[self.class_name]
        self.tiles_always = self.family.tiles
        loaded = getattr(diffusers, self.class_name).from_pretrained(
            folder,
            local_files_only=True,
            low_cpu_mem_usage=False,
            use_safetensors=any(name.endswith(".safetensors") for name in config.files),
            output_loading_info=True,
        )
        self.model = all_loaded(loaded, self.class_name)
        for switch in _SWITCHES:
            if hasattr(self.model, switch):
                setattr(self.model, switch, switch == "use_tiling" and self.family.tiles)
        facts: dict[str, Any] = {"licence": licence_of(folder, stated), "dtype": stored_type(config.files)}
        self.declaration = Declaration(**{**facts, **self.family.declare(self.model)})

    def modules(self) -> list[nn.Module]:
        return [self.model]

    def tiling(self) -> list[str]:
        return [switch for switch in _SWITCHES if getattr(self.model, switch, False)]

    def encode(self, signal: Tensor) -> Latents:
        if self.family.encode is not None:
            return self.family.encode(self, signal)
        return posterior(self.model.encode(signal))

    def decode(self, latents: Latents) -> Tensor:
        if self.family.decode is not None:
            return self.family.decode(self, latents)
        decoded: Tensor = self.model.decode(latents.values).sample
        return decoded


def posterior(output: Any) -> Latents:
    """Mean and deviation of what `encode` gave; the latents of a class without a posterior."""
    for name in ("latents", "latent"):
        if hasattr(output, name):
            return Latents(values=getattr(output, name))
    distribution = output.latent_dist
    if not hasattr(distribution, "std"):
        return Latents(values=distribution.mode())
    return Latents(values=distribution.mean, scale=distribution.std)


def _side(channels: str) -> Callable[[Any], int]:
    return lambda model: 2 ** (len(getattr(model.config, channels)) - 1)


def _image(side: Callable[[Any], int], **more: Any) -> Callable[[Any], dict[str, Any]]:
    def declare(model: Any) -> dict[str, Any]:
        facts: dict[str, Any] = {"modalities": _IMAGE, "channels": 3, "multiple": side(model)}
        own = {"normaliser": scale_and_shift, **more}
        return facts | {key: value(model) if callable(value) else value for key, value in own.items()}

    return declare


def _patchified(values: Tensor) -> Tensor:
    """`[B, D, H, W]` to `[B, 4 D, H/2, W/2]`, as FLUX.2's pipeline orders it: channel, row, column."""
    b, d, h, w = values.shape
    return values.reshape(b, d, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(b, 4 * d, h // 2, w // 2)


def _unpatchified(values: Tensor) -> Tensor:
    b, d, h, w = values.shape
    return values.reshape(b, d // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(b, d // 4, 2 * h, 2 * w)


def _flux2_encode(adapter: DiffusersAdapter, signal: Tensor) -> Latents:
    raw = posterior(adapter.model.encode(signal))
    assert raw.values is not None
    assert raw.scale is not None
    return Latents(values=_patchified(raw.values), scale=_patchified(raw.scale))


def _flux2_decode(adapter: DiffusersAdapter, latents: Latents) -> Tensor:
    assert latents.values is not None
    decoded: Tensor = adapter.model.decode(_unpatchified(latents.values)).sample
    return decoded


def _vq_encode(adapter: DiffusersAdapter, signal: Tensor) -> Latents:
    """Codes, and the vectors they stand for: `encode` of VQModel gives what is before the quantiser."""
    before = adapter.model.encode(signal).latents
    quantised, _, (_, _, indices) = adapter.model.quantize(before)
    return Latents(codes=indices.reshape(len(before), 1, *before.shape[2:]), values=quantised)


def _vq_decode(adapter: DiffusersAdapter, latents: Latents) -> Tensor:
    model, values = adapter.model, latents.values
    if latents.codes is not None:
        b, _, h, w = latents.codes.shape
        values = model.quantize.get_codebook_entry(latents.codes.reshape(-1), (b, h, w, model.quantize.vq_embed_dim))
    spatial = values if model.config.norm_type == "spatial" else None
    decoded: Tensor = model.decoder(model.post_quant_conv(values), spatial)
    return decoded


def _consistency_decode(adapter: DiffusersAdapter, latents: Latents) -> Tensor:
    """Sample by sample, each from the same noise: the same sample decodes alike in every batch."""
    assert latents.values is not None
    decoded = []
    for row in latents.values.split(1):
        generator = torch.Generator(device=row.device).manual_seed(0)
        decoded.append(adapter.model.decode(row, generator=generator).sample)
    return torch.cat(decoded)


def _rae_encode(adapter: DiffusersAdapter, signal: Tensor) -> Latents:
    """Tokens without a grid become one axis."""
    values = adapter.model.encode(signal).latent
    return Latents(values=values.mT if values.ndim == 3 else values)


def _rae_decode(adapter: DiffusersAdapter, latents: Latents) -> Tensor:
    assert latents.values is not None
    values = latents.values.mT if latents.values.ndim == 3 else latents.values
    decoded: Tensor = adapter.model.decode(values).sample
    return decoded


def _oobleck(model: Any) -> dict[str, Any]:
    return {
        "modalities": _SOUND,
        "channels": model.config.audio_channels,
        "rate": float(model.config.sampling_rate),
        "multiple": model.hop_length,
        "pad": True,
        "normaliser": inside("Stable Audio's pipeline scales nothing"),
    }


def _flux2_normaliser(model: Any) -> Normaliser:
    return batch_norm(model.bn, model.config.batch_norm_eps)


FAMILIES: dict[str, Family] = {
    "AutoencoderKL": Family(declare=_image(_side("block_out_channels"))),
    "AsymmetricAutoencoderKL": Family(declare=_image(_side("down_block_out_channels"))),
    "AutoencoderKLFlux2": Family(
        declare=_image(lambda model: 2 * _side("block_out_channels")(model), normaliser=_flux2_normaliser),
        encode=_flux2_encode,
        decode=_flux2_decode,
    ),
    "AutoencoderTiny": Family(declare=_image(_side("encoder_block_out_channels"))),
    "AutoencoderDC": Family(declare=_image(_side("encoder_block_out_channels"))),
    "AutoencoderRAE": Family(
        declare=_image(
            lambda model: model.decoder_image_size,
            range=(0.0, 1.0),
            normaliser=lambda model: inside("normalised inside encode, by its own latents_mean and latents_std"),
        ),
        encode=_rae_encode,
        decode=_rae_decode,
    ),
    "VQModel": Family(
        declare=_image(_side("block_out_channels"), codebook_sizes=lambda model: (model.config.num_vq_embeddings,)),
        encode=_vq_encode,
        decode=_vq_decode,
    ),
    "ConsistencyDecoderVAE": Family(
        declare=_image(
            _side("block_out_channels"),
            stochastic=True,
        ),
        decode=_consistency_decode,
    ),
    "AutoencoderOobleck": Family(declare=_oobleck),
    "AutoencoderKLCosmos": Family(declare=Cosmos.declare, encode=Cosmos.encode, decode=Cosmos.decode),
    **{
        name: Family(declare=kind.declare, encode=kind.encode, decode=kind.decode, tiles=kind.tiles)
        for name, kind in VIDEO.items()
    },
}
