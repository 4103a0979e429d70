"""A codec as a tokenizer: nothing to train, nothing to save."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..config import TokenizerConfig
from ..interface import Latents, TrainableTokenizer
from ..spec import LatentSpec


class CodecTokenizer(TrainableTokenizer):
    """Built from a `TokenizerConfig` with a codec. The training loop finds no parameters and takes no step."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        if config.codec is None:
            raise ValueError("a CodecTokenizer needs a codec")
        self.config = config
        self.codec = config.codec.build(config.signal)
        self._spec = config.spec

    @property
    def spec(self) -> LatentSpec:
        return self._spec

    def encode(self, signal: Tensor) -> Latents:
        """`[B, C, *signal]` to the codec's latents."""
        return self.codec.encode(signal)

    def decode(self, latents: Latents) -> Tensor:
        """Latents to `[B, C, *signal]`."""
        decoded = self.codec.decode(latents)
        self.undecodable = self.codec.undecodable
        return decoded

    def losses(self, batch: Any, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
        """A codec has none."""
        raise RuntimeError("a codec has nothing to train")
