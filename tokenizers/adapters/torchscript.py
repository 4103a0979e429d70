"""An encoder and a decoder as TorchScript files."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .pair_config import TorchScriptConfig
from .python import ObjectAdapter


class _Pair(nn.Module):
    """Two scripted modules as one object."""

    def __init__(self, encoder: Any, decoder: Any) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def encode(self, signal: Any) -> Any:
        """What the encoder's file gives; of a tuple what it begins with, as Cosmos' files give `(latent,)`."""
        output = self.encoder(signal)
        return output[0] if isinstance(output, tuple) else output

    def decode(self, latents: Any) -> Any:
        """What the decoder's file gives."""
        return self.decoder(latents)


class TorchScriptAdapter(ObjectAdapter):
    """The pair, with what the user's spec says of it."""

    def __init__(self, config: TorchScriptConfig) -> None:
        parts = [torch.jit.load(config.files[name], map_location="cpu") for name in ("encoder", "decoder")]
        table = config.spec if isinstance(config.spec, dict) else {}
        super().__init__(_Pair(*parts), table, "TorchScript")

    def state(self) -> str:
        """The files tell it."""
        return ""
