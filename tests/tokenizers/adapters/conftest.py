"""Every class of the diffusers adapter with a few channels and random weights.

By class: what it is constructed with, the signal `(modality, shape)` it is tried on, and the `(channels, grid,
codebooks)` that its latents should have.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch


class Tiny(NamedTuple):
    """One class, made small."""

    arguments: dict[str, Any]
    signal: tuple[str, tuple[int, ...]]
    latents: tuple[int, tuple[int, ...]]
    codebooks: tuple[int, ...] = ()


_DOWN, _UP = ("DownEncoderBlock2D",) * 2, ("UpDecoderBlock2D",) * 2
_KL: dict[str, Any] = {
    "block_out_channels": (4, 8),
    "down_block_types": _DOWN,
    "up_block_types": _UP,
    "norm_num_groups": 2,
    "latent_channels": 4,
}

IMAGES: dict[str, Tiny] = {
    "AutoencoderKL": Tiny({**_KL, "scaling_factor": 0.5, "shift_factor": 0.25}, ("image", (16, 16)), (4, (8, 8))),
    "AutoencoderKLFlux2": Tiny({**_KL, "sample_size": 16}, ("image", (16, 16)), (16, (4, 4))),
    "AsymmetricAutoencoderKL": Tiny(
        {
            "down_block_types": _DOWN,
            "down_block_out_channels": (4, 8),
            "up_block_types": _UP,
            "up_block_out_channels": (4, 8),
            "norm_num_groups": 2,
            "latent_channels": 4,
        },
        ("image", (16, 16)),
        (4, (8, 8)),
    ),
    "AutoencoderTiny": Tiny(
        {
            "encoder_block_out_channels": (4, 4),
            "decoder_block_out_channels": (4, 4),
            "num_encoder_blocks": (1, 1),
            "num_decoder_blocks": (1, 1),
            "latent_channels": 4,
        },
        ("image", (16, 16)),
        (4, (8, 8)),
    ),
    "AutoencoderDC": Tiny(
        {
            "latent_channels": 4,
            "attention_head_dim": 2,
            "encoder_block_types": ("ResBlock", "EfficientViTBlock"),
            "decoder_block_types": ("ResBlock", "EfficientViTBlock"),
            "encoder_block_out_channels": (8, 8),
            "decoder_block_out_channels": (8, 8),
            "encoder_qkv_multiscales": ((), (5,)),
            "decoder_qkv_multiscales": ((), (5,)),
            "encoder_layers_per_block": (1, 1),
            "decoder_layers_per_block": (1, 1),
            "downsample_block_type": "conv",
            "upsample_block_type": "interpolate",
            "decoder_norm_types": "rms_norm",
            "decoder_act_fns": "silu",
            "scaling_factor": 0.41407,
        },
        ("image", (16, 16)),
        (4, (8, 8)),
    ),
    "AutoencoderRAE": Tiny(
        {
            "encoder_type": "mae",
            "encoder_hidden_size": 64,
            "encoder_patch_size": 4,
            "encoder_num_hidden_layers": 1,
            "decoder_hidden_size": 16,
            "decoder_num_hidden_layers": 1,
            "decoder_num_attention_heads": 2,
            "decoder_intermediate_size": 16,
            "patch_size": 4,
            "encoder_input_size": 16,
        },
        ("image", (16, 16)),
        (64, (4, 4)),
    ),
    "VQModel": Tiny({**_KL, "num_vq_embeddings": 32, "vq_embed_dim": 4}, ("image", (16, 16)), (4, (8, 8)), (32,)),
    "ConsistencyDecoderVAE": Tiny(
        {
            "encoder_block_out_channels": (4, 8),
            "encoder_down_block_types": _DOWN,
            "encoder_layers_per_block": 1,
            "encoder_norm_num_groups": 2,
            "decoder_block_out_channels": (4, 8),
            "decoder_down_block_types": ("ResnetDownsampleBlock2D",) * 2,
            "decoder_up_block_types": ("ResnetUpsampleBlock2D",) * 2,
            "decoder_layers_per_block": 1,
            "decoder_norm_num_groups": 2,
            "latent_channels": 4,
        },
        ("image", (16, 16)),
        (4, (8, 8)),
    ),
}

SOUNDS: dict[str, Tiny] = {
    "AutoencoderOobleck": Tiny(
        {
            "encoder_hidden_size": 8,
            "downsampling_ratios": [2, 4],
            "channel_multiples": [1, 2],
            "decoder_channels": 8,
            "decoder_input_channels": 4,
            "audio_channels": 1,
            "sampling_rate": 8000,
        },
        ("waveform", (80,)),
        (4, (10,)),
    ),
}
_MEAN_16 = {"latents_mean": [0.5] * 4, "latents_std": [2.0] * 4}

VIDEOS: dict[str, Tiny] = {
    "AutoencoderKLWan": Tiny(
        {"base_dim": 4, "z_dim": 4, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1, **_MEAN_16},
        ("video", (9, 16, 16)),
        (4, (3, 2, 2)),
    ),
    "AutoencoderKLQwenImage": Tiny(
        {"base_dim": 4, "z_dim": 4, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1, **_MEAN_16},
        ("image", (16, 16)),
        (4, (2, 2)),
    ),
    "AutoencoderKLHunyuanVideo": Tiny(
        {
            "latent_channels": 4,
            "block_out_channels": (8, 8, 8, 8),
            "layers_per_block": 1,
            "norm_num_groups": 4,
        },
        ("video", (9, 16, 16)),
        (4, (3, 2, 2)),
    ),
    "AutoencoderKLCogVideoX": Tiny(
        {
            "down_block_types": ("CogVideoXDownBlock3D",) * 4,
            "up_block_types": ("CogVideoXUpBlock3D",) * 4,
            "block_out_channels": (8, 8, 8, 8),
            "latent_channels": 4,
            "layers_per_block": 1,
            "norm_num_groups": 2,
        },
        ("video", (9, 16, 16)),
        (4, (3, 2, 2)),
    ),
    "AutoencoderKLLTXVideo": Tiny(
        {
            "latent_channels": 4,
            "block_out_channels": (8, 8, 8, 8),
            "decoder_block_out_channels": (8, 8, 8, 8),
            "layers_per_block": (1, 1, 1, 1, 1),
            "decoder_layers_per_block": (1, 1, 1, 1, 1),
            "spatio_temporal_scaling": (True, True, False, False),
            "decoder_spatio_temporal_scaling": (True, True, False, False),
            "decoder_inject_noise": (False, False, False, False, False),
            "patch_size": 1,
            "patch_size_t": 1,
            "encoder_causal": True,
            "decoder_causal": False,
        },
        ("video", (9, 16, 16)),
        (4, (3, 4, 4)),
    ),
    "AutoencoderKLCosmos": Tiny(
        {
            "latent_channels": 4,
            "encoder_block_out_channels": (8, 8, 8, 8),
            "decode_block_out_channels": (8, 8, 8, 8),
            "attention_resolutions": (8,),
            "resolution": 64,
            "num_layers": 1,
            "patch_size": 4,
            "latents_mean": [0.0] * 64,
            "latents_std": [2.0] * 64,
        },
        ("video", (9, 32, 32)),
        (4, (2, 4, 4)),
    ),
    "AutoencoderKLMochi": Tiny(
        {
            "latent_channels": 4,
            "encoder_block_out_channels": (32, 32, 32, 32),
            "decoder_block_out_channels": (32, 32, 32, 32),
            "layers_per_block": (1, 1, 1, 1, 1),
            **_MEAN_16,
        },
        ("video", (7, 16, 16)),
        (4, (2, 2, 2)),
    ),
    "AutoencoderKLMagvit": Tiny(
        {
            "latent_channels": 4,
            "block_out_channels": [8, 8, 8],
            "down_block_types": ["SpatialDownBlock3D", "SpatialTemporalDownBlock3D", "SpatialTemporalDownBlock3D"],
            "up_block_types": ["SpatialUpBlock3D", "SpatialTemporalUpBlock3D", "SpatialTemporalUpBlock3D"],
            "layers_per_block": 1,
            "norm_num_groups": 8,
            "spatial_group_norm": True,
        },
        ("video", (9, 16, 16)),
        (4, (5, 4, 4)),
    ),
    "AutoencoderKLAllegro": Tiny(
        {
            "latent_channels": 4,
            "block_out_channels": (8, 8, 8, 8),
            "layers_per_block": 1,
            "norm_num_groups": 2,
            "sample_size": 16,
        },
        ("video", (24, 16, 16)),
        (4, (6, 2, 2)),
    ),
    "AutoencoderVidTok": Tiny(
        {
            "ch": 8,
            "ch_mult": [1, 2, 4, 4],
            "z_channels": 4,
            "num_res_blocks": 1,
            "regularizer": "kl",
        },
        ("video", (5, 16, 16)),
        (4, (2, 2, 2)),
    ),
    "AutoencoderKLTemporalDecoder": Tiny(
        {
            "block_out_channels": (32, 32),
            "down_block_types": _DOWN,
            "layers_per_block": 1,
            "latent_channels": 4,
        },
        ("video", (3, 16, 16)),
        (4, (3, 8, 8)),
    ),
}


@pytest.fixture(scope="session")
def tiny_diffusers() -> Mapping[str, Tiny]:
    """The tiny models by class."""
    return {**IMAGES, **SOUNDS, **VIDEOS}


@pytest.fixture
def probed_for_real(monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptions come from a real pass: a tiny model's takes milliseconds, on fake tensors more than a second."""
    from latentbench.tokenizers.adapters import probe

    def run(tokenizer: Any, signal: Any) -> Any:
        return probe._through(tokenizer, signal, torch.zeros(1, signal.channels, *signal.shape))

    monkeypatch.setattr(probe, "_run", run)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str, Mapping[str, str]], Path]]:
    """A function that writes a package beside the metadata of an installed distribution, and gives its folder."""
    names: list[str] = []

    def write(name: str, distribution: str, files: Mapping[str, str]) -> Path:
        package = tmp_path / name
        metadata = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        for folder in (package, metadata):
            folder.mkdir()
        for file, text in files.items():
            (package / file).write_text(text)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        names.append(name)
        _forget(name)
        return package

    yield write
    for name in names:
        _forget(name)


def _forget(name: str) -> None:
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]


@pytest.fixture
def save(tiny_diffusers: Mapping[str, Any], tmp_path: Path) -> Callable[..., tuple[Any, Path]]:
    """A function that saves the tiny model of a class, and gives it, in eval mode, with its folder."""
    import diffusers

    def save(name: str, **more: Any) -> tuple[Any, Path]:
        torch.manual_seed(0)
        model = getattr(diffusers, name)(**{**tiny_diffusers[name].arguments, **more}).eval()
        model.save_pretrained(tmp_path / name)
        return model, tmp_path / name

    return save
