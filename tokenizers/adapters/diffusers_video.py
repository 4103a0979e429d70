"""Video autoencoders of diffusers: rules of frames, causal padding, and clips flattened into batches.

Shape legend: B batch, C channels, T frames, D latent channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...results.errors import UserError
from ..interface import Latents
from ..spec import Modality
from .declaration import Normaliser
from .normalisers import buffers, inside, scale_and_shift

_CLIPS = (Modality.VIDEO, Modality.IMAGE)


@dataclass(frozen=True, kw_only=True)
class VideoFamily:
    """How one class of video models wants to be called."""

    declare: Callable[[Any], dict[str, Any]]
    encode: Callable[[Any, Tensor], Latents]
    decode: Callable[[Any, Latents], Tensor]
    tiles: bool = False


def as_clips(signal: Tensor) -> Tensor:
    """`[B, C, H, W]` pictures as clips of one frame; clips as they are."""
    return signal.unsqueeze(2) if signal.ndim == 4 else signal


def _latents(output: Any) -> Latents:
    distribution = output.latent_dist
    if not hasattr(distribution, "std"):
        return Latents(values=distribution.mode())
    return Latents(values=distribution.mean, scale=distribution.std)


def _squeezed(latents: Latents, signal: Tensor) -> Latents:
    """Latents of pictures without their axis of one frame."""
    if signal.ndim == 5:
        return latents
    parts = (latents.values, latents.scale, latents.codes)
    values, scale, codes = (None if part is None else part.squeeze(2) for part in parts)
    return Latents(values=values, scale=scale, codes=codes)


def _encode(adapter: Any, signal: Tensor) -> Latents:
    return _squeezed(_latents(adapter.model.encode(as_clips(signal))), signal)


def _decode(adapter: Any, latents: Latents) -> Tensor:
    assert latents.values is not None
    values = as_clips(latents.values)
    decoded: Tensor = adapter.model.decode(values).sample
    return decoded.squeeze(2) if latents.values.ndim == 4 else decoded


def _clips(
    side: Callable[[Any], int],
    step: Callable[[Any], int],
    *,
    normaliser: Callable[[Any], Normaliser] = scale_and_shift,
    causal: bool = True,
    first: Modality = Modality.VIDEO,
) -> Callable[[Any], dict[str, Any]]:
    """Clips of k steps and a frame more, of which the first frame is a latent of its own."""

    def declare(model: Any) -> dict[str, Any]:
        return {
            "modalities": tuple(sorted(_CLIPS, key=lambda modality: modality is not first)),
            "channels": 3,
            "multiple": side(model),
            "frames": f"{step(model)}k+1",
            "normaliser": normaliser(model),
            "causal": causal,
        }

    return declare


def _spatial(model: Any) -> int:
    return int(model.spatial_compression_ratio)


def _temporal(model: Any) -> int:
    return int(model.temporal_compression_ratio)


def _wan_side(model: Any) -> int:
    return int(model.config.scale_factor_spatial)


def _qwen_side(model: Any) -> int:
    return 2 ** len(model.config.temperal_downsample)


def _qwen_step(model: Any) -> int:
    return 2 ** sum(model.config.temperal_downsample)


def _cogvideox_side(model: Any) -> int:
    return 2 ** (len(model.config.block_out_channels) - 1)


def _cogvideox_step(model: Any) -> int:
    return int(model.config.temporal_compression_ratio)


def _ltx_decode(adapter: Any, latents: Latents) -> Tensor:
    """At timestep 0, without noise in the latents, where the decoder takes one.

    Some decoders draw noise between their layers: one map for all samples and frames, here the same every time.
    """
    assert latents.values is not None
    values = as_clips(latents.values)
    conditioned = adapter.model.config.timestep_conditioning
    temb = values.new_zeros(len(values)) if conditioned else None
    with torch.random.fork_rng(devices=[values.device] if values.is_cuda else []):
        torch.manual_seed(0)
        decoded: Tensor = adapter.model.decode(values, temb).sample
    return decoded.squeeze(2) if latents.values.ndim == 4 else decoded


def _ltx(model: Any) -> dict[str, Any]:
    facts = _clips(_spatial, _temporal, normaliser=buffers)(model)
    return facts | {"causal": bool(model.config.encoder_causal), "stochastic": any(model.config.decoder_inject_noise)}


def _allegro(model: Any) -> dict[str, Any]:
    facts = _clips(_spatial, _cogvideox_step, causal=False)(model)
    overlap = model.kernel[0] - model.stride[0]
    return facts | {"frames": f"{model.stride[0]}k+{overlap}", "modalities": (Modality.VIDEO,)}


def _allegro_encode(adapter: Any, signal: Tensor) -> Latents:
    """One clip at a time, as its tiles are written; what its tiles do not cover would stay black."""
    model = adapter.model
    for axis, size, kernel, stride in zip(
        ("frames", "height", "width"), signal.shape[2:], model.kernel, model.stride, strict=True
    ):
        if size < kernel or (size > kernel and (stride < 1 or (size - kernel) % stride)):
            rule = f"{kernel}" if stride < 1 else f"{kernel} + {stride} k"
            raise UserError(f"{axis} {size}: Allegro's tiles cover {rule}, and leave the rest black")
    clips = [_latents(model.encode(clip)) for clip in signal.split(1)]
    values, scales = (
        [part for clip in clips if (part := getattr(clip, name)) is not None] for name in ("values", "scale")
    )
    return Latents(values=torch.cat(values), scale=torch.cat(scales))


def _allegro_decode(adapter: Any, latents: Latents) -> Tensor:
    """It gives `[B, T, C, H, W]`."""
    assert latents.values is not None
    return torch.cat([adapter.model.decode(clip).sample for clip in latents.values.split(1)]).transpose(1, 2)


def _vidtok(model: Any) -> dict[str, Any]:
    step = int(model.temporal_compression_ratio)
    facts: dict[str, Any] = {
        "modalities": _CLIPS if model.is_causal else (Modality.VIDEO,),
        "channels": 3,
        "multiple": 2 ** len(model.encoder.spatial_ds),
        "frames": f"{step}k+1" if model.is_causal else f"{model.num_sample_frames_batch_size}k",
        "causal": bool(model.is_causal),
        "normaliser": inside("VidTok publishes no normaliser; its latents are near N(0, I)"),
    }
    if model.regularizer != "kl":
        del facts["normaliser"]
        facts["codebook_sizes"] = (int(model.regularization.codebook_size),)
    return facts


def _vidtok_encode(adapter: Any, signal: Tensor) -> Latents:
    """A causal model wants its first frame repeated before the clip, which its decoder drops again."""
    model, x = adapter.model, as_clips(signal)
    if model.is_causal:
        x = torch.cat([x[:, :, :1].expand(-1, -1, model.temporal_compression_ratio - 1, -1, -1), x], dim=2)
    output = model.encode(x)
    if model.regularizer == "kl":
        return _squeezed(_latents(output), signal)
    values, indices = output
    codes = indices.unsqueeze(1) if indices.ndim == 4 else indices.movedim(-1, 1)
    return _squeezed(Latents(values=values, codes=codes), signal)


def _vidtok_decode(adapter: Any, latents: Latents) -> Tensor:
    tensor = latents.values if latents.codes is None else latents.codes
    assert tensor is not None
    clips = as_clips(tensor)
    if latents.codes is None:
        decoded: Tensor = adapter.model.decode(clips)
    else:
        codes = clips.squeeze(1) if clips.shape[1] == 1 else clips.movedim(1, -1)
        decoded = adapter.model.decode(codes, decode_from_indices=True)
    return decoded.squeeze(2) if tensor.ndim == 4 else decoded


def _svd(model: Any) -> dict[str, Any]:
    return {
        "modalities": _CLIPS,
        "channels": 3,
        "multiple": 2 ** (len(model.config.block_out_channels) - 1),
        "normaliser": scale_and_shift(model),
    }


def _svd_encode(adapter: Any, signal: Tensor) -> Latents:
    """Frame by frame, flattened into the batch."""
    clips = as_clips(signal)
    latents = _latents(adapter.model.encode(clips.transpose(1, 2).flatten(0, 1)))
    parts = (latents.values, latents.scale)
    values, scale = (None if part is None else part.unflatten(0, (len(clips), -1)).transpose(1, 2) for part in parts)
    return _squeezed(Latents(values=values, scale=scale), signal)


def _svd_decode(adapter: Any, latents: Latents) -> Tensor:
    """All frames of a clip at once: its decoder mixes them."""
    assert latents.values is not None
    values = as_clips(latents.values)
    frames = values.shape[2]
    flat = adapter.model.decode(values.transpose(1, 2).flatten(0, 1), num_frames=frames).sample
    decoded: Tensor = flat.unflatten(0, (-1, frames)).transpose(1, 2)
    return decoded.squeeze(2) if latents.values.ndim == 4 else decoded


class Cosmos:
    """Its mean and deviation differ by latent frame, so they are applied here and not by the tokenizer."""

    @staticmethod
    def declare(model: Any) -> dict[str, Any]:
        config = model.config
        side, step = (lambda _: config.spatial_compression_ratio), (lambda _: config.temporal_compression_ratio)
        given = config.latents_mean is not None
        origin = "config.json: latents_mean, latents_std by latent frame" if given else ""
        return _clips(side, step, normaliser=lambda _: Normaliser(origin=origin))(model)

    @staticmethod
    def _moments(adapter: Any, like: Tensor) -> tuple[Tensor, Tensor] | None:
        config = adapter.model.config
        if config.latents_mean is None or adapter.config.normaliser != "published":
            return None
        lists = (config.latents_mean, config.latents_std)
        rows = (like.new_tensor(row).view(1, config.latent_channels, -1, 1, 1) for row in lists)
        mean, std = (row[:, :, : like.shape[2]] for row in rows)
        return mean, std

    @staticmethod
    def encode(adapter: Any, signal: Tensor) -> Latents:
        raw = _latents(adapter.model.encode(as_clips(signal)))
        assert raw.values is not None
        moments = Cosmos._moments(adapter, raw.values)
        values = raw.values if moments is None else (raw.values - moments[0]) / moments[1]
        return _squeezed(Latents(values=values), signal)

    @staticmethod
    def decode(adapter: Any, latents: Latents) -> Tensor:
        assert latents.values is not None
        values = as_clips(latents.values)
        moments = Cosmos._moments(adapter, values)
        values = values if moments is None else values * moments[1] + moments[0]
        decoded: Tensor = adapter.model.decode(values).sample
        return decoded.squeeze(2) if latents.values.ndim == 4 else decoded


VIDEO: dict[str, VideoFamily] = {
    "AutoencoderKLWan": VideoFamily(
        declare=_clips(_wan_side, lambda model: int(model.config.scale_factor_temporal)), encode=_encode, decode=_decode
    ),
    "AutoencoderKLQwenImage": VideoFamily(
        declare=_clips(_qwen_side, _qwen_step, first=Modality.IMAGE), encode=_encode, decode=_decode
    ),
    # Its convolutions are causal, and so are CogVideoX's, but their group norms see the whole clip.
    "AutoencoderKLHunyuanVideo": VideoFamily(
        declare=_clips(_spatial, _temporal, causal=False), encode=_encode, decode=_decode
    ),
    "AutoencoderKLCogVideoX": VideoFamily(
        declare=_clips(_cogvideox_side, _cogvideox_step, causal=False), encode=_encode, decode=_decode
    ),
    "AutoencoderKLLTXVideo": VideoFamily(declare=_ltx, encode=_encode, decode=_ltx_decode),
    "AutoencoderKLMochi": VideoFamily(declare=_clips(_spatial, _temporal), encode=_encode, decode=_decode),
    "AutoencoderKLMagvit": VideoFamily(declare=_clips(_spatial, _temporal), encode=_encode, decode=_decode),
    "AutoencoderKLAllegro": VideoFamily(declare=_allegro, encode=_allegro_encode, decode=_allegro_decode, tiles=True),
    "AutoencoderVidTok": VideoFamily(declare=_vidtok, encode=_vidtok_encode, decode=_vidtok_decode),
    "AutoencoderKLTemporalDecoder": VideoFamily(declare=_svd, encode=_svd_encode, decode=_svd_decode),
}
