"""Configurations of the adapters for a pair of exported graphs: TorchScript and ONNX. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ...results.errors import UserError
from .config import AdapterConfig


@dataclass(frozen=True, kw_only=True)
class PairConfig(AdapterConfig):
    """Two files, an encoder and a decoder: `path` is ENCODER,DECODER. All that they are has to stand in `spec`."""

    def find(self, where: str) -> Mapping[str, Any]:
        parts = [part.strip() for part in self.path.split(",")]
        if len(parts) != 2 or not all(parts):
            raise UserError(f"{where}: expected ENCODER,DECODER, two files with a comma between, got {self.path!r}")
        files = {}
        for name, part in zip(("encoder", "decoder"), parts, strict=True):
            file = Path(part).expanduser()
            if not file.is_file():
                raise UserError(f"{where}: no such file: {part}")
            files[name] = str(file.resolve())
        return {"files": files}


@dataclass(frozen=True, kw_only=True)
class TorchScriptConfig(PairConfig):
    """Encoder and decoder as TorchScript: `path` is enc.jit,dec.jit, and `spec` says what they are.

    A TorchScript file is code, which runs when it is used, so `trust_pickle` has to say that it is trusted.
    """

    kind: ClassVar[str] = "torchscript"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "torchscript:TorchScriptAdapter"
    packages: ClassVar[tuple[str, ...]] = ("torch",)

    def find(self, where: str) -> Mapping[str, Any]:
        if not self.trust_pickle:
            cure = "say that you trust it: --trust-pickle (trust_pickle = true)"
            raise UserError(f"{where}: a TorchScript file is code, which runs when it is used; {cure}")
        return super().find(where)


@dataclass(frozen=True, kw_only=True)
class ONNXConfig(PairConfig):
    """Encoder and decoder as ONNX graphs, on the CPU: `path` is enc.onnx,dec.onnx, and `spec` says what they are."""

    kind: ClassVar[str] = "onnx"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "onnx:ONNXAdapter"
    packages: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    extra: ClassVar[str] = "onnx"
