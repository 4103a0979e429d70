"""Configuration of the adapter for autoencoders of diffusers. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ...results.errors import UserError, unknown
from .config import AdapterConfig
from .files import model_files, model_folder

CLASSES = (
    "AsymmetricAutoencoderKL",
    "AutoencoderDC",
    "AutoencoderKL",
    "AutoencoderKLAllegro",
    "AutoencoderKLCogVideoX",
    "AutoencoderKLCosmos",
    "AutoencoderKLFlux2",
    "AutoencoderKLHunyuanVideo",
    "AutoencoderKLLTXVideo",
    "AutoencoderKLMagvit",
    "AutoencoderKLMochi",
    "AutoencoderKLQwenImage",
    "AutoencoderKLTemporalDecoder",
    "AutoencoderKLWan",
    "AutoencoderOobleck",
    "AutoencoderRAE",
    "AutoencoderTiny",
    "AutoencoderVidTok",
    "ConsistencyDecoderVAE",
    "VQModel",
)


@dataclass(frozen=True, kw_only=True)
class DiffusersConfig(AdapterConfig):
    """An autoencoder of diffusers: a folder with config.json and safetensors, or a pipeline's with it in `vae`.

    Its class is `_class_name` in config.json. A decoder that draws noise (the consistency decoder of DALL-E 3, LTX's of
    0.9.1) draws the same for every sample.
    """

    kind: ClassVar[str] = "diffusers"
    version: ClassVar[int] = 2
    builds: ClassVar[str | type] = "diffusers:DiffusersAdapter"
    packages: ClassVar[tuple[str, ...]] = ("diffusers", "torch")
    extra: ClassVar[str] = "diffusers"

    def find(self, where: str) -> Mapping[str, Any]:
        patterns = ("*.json", "*.safetensors", "README.md", "vae/*.json", "vae/*.safetensors")
        folder, config = model_folder(
            self.path, allow_download=self.allow_download, revision=self.revision, patterns=patterns, where=where
        )
        name = config.get("_class_name")
        if not isinstance(name, str):
            raise UserError(f"{where}: {folder / 'config.json'} has no _class_name, so it is no model of diffusers")
        if name not in CLASSES:
            raise unknown("autoencoder", name, CLASSES, where=where)
        files = model_files(folder, "diffusion_pytorch_model", trust_pickle=self.trust_pickle, where=where)
        return {"files": files}
