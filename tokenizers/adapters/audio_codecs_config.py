"""Configurations of the adapters for audio codecs that come as packages of their own. No torch."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

from ...results.errors import UserError, unknown
from .config import AdapterConfig
from .files import model_files, model_folder, weights_file
from .python_config import absolute

# Classes of audiocodecs whose codes are no grid of fixed size in time.
_NO_GRID = {
    "BiCodec": "the first 32 of its codes are of the whole sound, with no place in time",
    "DyCAST": "the sound decides its number of positions, and grids are fixed",
}
_PATTERNS = ("config.json", "model*.safetensors", "pytorch_model.bin", "README.md")


@dataclass(frozen=True, kw_only=True)
class SNACConfig(AdapterConfig):
    """A SNAC of the package snac: a folder with config.json and model.safetensors, or pytorch_model.bin.

    Its rate is fixed: codes at three or four rates, coarse to fine. Its decoder draws noise: `noise` "seeded" is the
    same noise for every sample, "off" none at all.
    """

    kind: ClassVar[str] = "snac"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "snac:SNACAdapter"
    packages: ClassVar[tuple[str, ...]] = ("snac", "torch")
    extra: ClassVar[str] = "audio-codecs"

    noise: Literal["seeded", "off"] = "seeded"

    def find(self, where: str) -> Mapping[str, Any]:
        return {"files": _model(self, where)}


@dataclass(frozen=True, kw_only=True)
class EnCodecConfig(AdapterConfig):
    """An EnCodec of Meta's package encodec: its file of weights (encodec_24khz-d7cc33bc.th), or these as safetensors.

    `bandwidth` in kbit/s is stated: without one, the package takes all codebooks, and transformers the fewest.
    """

    kind: ClassVar[str] = "encodec"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "encodec:EnCodecAdapter"
    packages: ClassVar[tuple[str, ...]] = ("encodec", "torch")
    extra: ClassVar[str] = "audio-codecs"

    bandwidth: float | None = None

    def find(self, where: str) -> Mapping[str, Any]:
        return {"files": {"weights": str(weights_file(self.path, trust_pickle=self.trust_pickle, where=where))}}


@dataclass(frozen=True, kw_only=True)
class DACConfig(AdapterConfig):
    """A DAC of the package descript-audio-codec: its file of weights (weights_24khz.pth), or a folder with config.json
    (what the class is constructed with) and model.safetensors.

    It has `n_quantizers` codes per position, all unless given.
    """

    kind: ClassVar[str] = "dac"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "dac:DACAdapter"
    packages: ClassVar[tuple[str, ...]] = ("descript-audio-codec", "torch")
    extra: ClassVar[str] = "audio-codecs"

    n_quantizers: int | None = None

    def find(self, where: str) -> Mapping[str, Any]:
        if Path(self.path).expanduser().is_file():
            return {"files": {"weights": str(weights_file(self.path, trust_pickle=self.trust_pickle, where=where))}}
        return {"files": _model(self, where)}


@dataclass(frozen=True, kw_only=True)
class AudiocodecsConfig(AdapterConfig):
    """A class of the package audiocodecs, which has one API for some 20 codecs: `path` is its name, as in WavTokenizer.

    It is constructed with `options`, and `n_quantizers` codes per position where it has a choice of them. The package
    fetches the weights by itself: with `allow_download` once, into its own caches, and never again. Their content is
    in the job's key. BiCodec and DyCAST are refused: their codes are no even steps in time.
    """

    kind: ClassVar[str] = "audiocodecs"
    version: ClassVar[int] = 2
    builds: ClassVar[str | type] = "audiocodecs:AudiocodecsAdapter"
    packages: ClassVar[tuple[str, ...]] = ("audiocodecs", "torch")
    install: ClassVar[str] = "pip install 'audiocodecs @ git+https://github.com/lucadellalib/audiocodecs.git'"

    codec: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    n_quantizers: int | None = None

    def find(self, where: str) -> Mapping[str, Any]:
        files = _codec_files()
        if self.path not in files:
            raise unknown("codec", self.path, files, where=where)
        if self.path in _NO_GRID:
            raise UserError(f"{where}: {self.path} has no grid of codes: {_NO_GRID[self.path]}")
        options = absolute(self.options)
        if self.allow_download:
            _fetch(json.dumps({"codec": self.path, "options": options, "n_quantizers": self.n_quantizers}))
        return {"files": {"module": files[self.path]}, "codec": self.path, "options": options}


def _model(config: AdapterConfig, where: str) -> dict[str, str]:
    folder, _ = model_folder(
        config.path, allow_download=config.allow_download, revision=config.revision, patterns=_PATTERNS, where=where
    )
    return model_files(folder, "model", trust_pickle=config.trust_pickle, where=where)


def _codec_files() -> dict[str, str]:
    """The file of each class of audiocodecs, read from what its package imports: importing it would import torch."""
    spec = find_spec("audiocodecs")
    assert spec is not None  # its version was asked for before
    assert spec.origin is not None
    package = Path(spec.origin)
    files: dict[str, str] = {}
    for node in ast.parse(package.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            file = package.parent / f"{node.module.rpartition('.')[2]}.py"
            names = (alias.asname or alias.name for alias in node.names)
            files |= {name: str(file) for name in names if not name.startswith("_") and name != "Codec"}
    return files


def _fetch(question: str) -> None:
    """Construct the codec once with the network, so that its weights are in its caches."""
    command = [sys.executable, "-P", "-m", f"{__package__}.audiocodecs", question]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it ended without a word"]
        raise UserError(f"audiocodecs can't fetch it: {lines[-1]}")
