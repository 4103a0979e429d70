"""Nested dropout (A13): Rippel, Gelbart and Adams 2014 (arXiv 1402.0915), over learned tokens.

Since the decoder has to manage with any prefix, the first tokens learn what matters most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..auxiliary.base import TrainedTokenizer
from ..auxiliary.config import TokenizerParts
from ..interface import Latents, number_of
from .base import Regulariser
from .nested_dropout_config import NestedDropoutConfig


class NestedDropout(Regulariser):
    """Masks the tokens after a random prefix in training, and those after `lengths` in decoding."""

    keep_at_inference: ClassVar[bool] = True
    choices: Tensor

    def __init__(self, config: NestedDropoutConfig, tokenizer: TokenizerParts) -> None:
        super().__init__()
        self.config = config
        self.tokens = tokens = tokenizer.layout.positions
        self.mask = nn.Parameter(torch.zeros(config.width(tokenizer))) if config.mask == "learned" else None
        choices = range(1, tokens + 1) if config.lengths == "uniform" else (*config.prefixes(tokens), tokens)
        self.register_buffer("choices", torch.tensor(list(choices)), persistent=False)

    def values(self, values: Tensor) -> Tensor:
        """In training `[B, C, n]`, some samples cut to a random prefix of their tokens."""
        if not self.training:
            return values
        device, batch = values.device, len(values)
        lengths = self.choices[torch.randint(len(self.choices), (batch,), device=device)]
        cut = torch.rand(batch, device=device) < self.config.weight
        return self.truncate(values, torch.where(cut, lengths, self.tokens))

    def truncate(self, values: Tensor, lengths: Tensor) -> Tensor:
        """`[B, C, n]` with the tokens after the first `lengths` `[B]` replaced by the mask."""
        hidden = (torch.arange(values.shape[2], device=values.device) >= lengths.unsqueeze(1)).unsqueeze(1)
        if self.mask is None:
            return values.masked_fill(hidden, 0.0)
        return torch.where(hidden, self.mask.to(values.dtype).unsqueeze(1), values)

    def operating_points(self, tokenizer: TrainedTokenizer) -> dict[str, Callable[[Latents], Tensor]]:
        """Decoding of the first 1, 2, 4, ... tokens."""
        lengths = self.config.prefixes(self.tokens)
        return {f"prefix_{length}": partial(_decode, tokenizer, length) for length in lengths}

    def read_at(self, point: str, latents: Latents) -> Latents | None:
        """The tokens of a prefix."""
        length = number_of(point, "prefix")
        if length is None:
            return None
        values, codes, scale = (
            None if tensor is None else tensor[..., :length]
            for tensor in (latents.values, latents.codes, latents.scale)
        )
        return replace(latents, values=values, codes=codes, scale=scale)


def _decode(tokenizer: TrainedTokenizer, length: int, latents: Latents) -> Tensor:
    tensor = latents.values if latents.values is not None else latents.codes
    assert tensor is not None
    lengths = torch.full((len(tensor),), length, device=tensor.device)
    return tokenizer.decode(replace(latents, lengths=lengths))
