"""Configuration of the adapter for audio codecs of transformers. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ...results.errors import UserError, unknown
from .config import AdapterConfig
from .files import model_files, model_folder

CLASSES = {"encodec": "EncodecModel", "dac": "DacModel", "mimi": "MimiModel", "xcodec": "XcodecModel"}


@dataclass(frozen=True, kw_only=True)
class TransformersConfig(AdapterConfig):
    """An audio codec of transformers (EnCodec, DAC, Mimi, X-Codec): a folder with config.json and safetensors.

    Its rate is stated, never a library's default: `bandwidth` in kbit/s (EnCodec, X-Codec), or `n_quantizers` codes
    per position (DAC: all unless given; Mimi).
    """

    kind: ClassVar[str] = "transformers"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "transformers:TransformersAdapter"
    packages: ClassVar[tuple[str, ...]] = ("transformers", "torch")
    extra: ClassVar[str] = "transformers"

    bandwidth: float | None = None
    n_quantizers: int | None = None

    def __post_init__(self) -> None:
        if self.n_quantizers is not None and self.n_quantizers < 1:
            raise ValueError("n_quantizers must be at least 1")

    def find(self, where: str) -> Mapping[str, Any]:
        folder, config = model_folder(
            self.path,
            allow_download=self.allow_download,
            revision=self.revision,
            patterns=("*.json", "model*.safetensors", "README.md"),
            where=where,
        )
        kind = config.get("model_type")
        if not isinstance(kind, str):
            raise UserError(f"{where}: {folder / 'config.json'} has no model_type, so it is no model of transformers")
        if kind not in CLASSES:
            raise unknown("codec", kind, CLASSES, where=where)
        return {"files": model_files(folder, "model", trust_pickle=self.trust_pickle, where=where)}
