"""Nested dropout (A13): Rippel, Gelbart and Adams 2014 (arXiv 1402.0915), over learned tokens.

Since every prefix has to do, the first tokens learn what matters most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from ..interface import Latents
from .base import Regulariser

if TYPE_CHECKING:
    from ..composed import ComposedTokenizer
    from .nested_config import NestedDropoutConfig


class NestedDropout(Regulariser):
    """Hides what lies behind a random prefix of the tokens; decoding hides what lies behind `lengths`."""

    keep_at_inference: ClassVar[bool] = True
    choices: Tensor

    def __init__(self, config: NestedDropoutConfig, *, tokens: int, width: int) -> None:
        super().__init__()
        self.config, self.tokens = config, tokens
        self.mask = nn.Parameter(torch.zeros(width)) if config.mask == "learned" else None
        some = range(1, tokens + 1) if config.lengths == "uniform" else (*config.prefixes(tokens), tokens)
        self.register_buffer("choices", torch.tensor(list(some)), persistent=False)

    def values(self, values: Tensor) -> Tensor:
        """In training `[B, C, n]` with a random prefix of the tokens left of some samples."""
        if not self.training:
            return values
        device, batch = values.device, len(values)
        lengths = self.choices[torch.randint(len(self.choices), (batch,), device=device)]
        cut = torch.rand(batch, device=device) < self.config.weight
        return self.truncate(values, torch.where(cut, lengths, self.tokens))

    def truncate(self, values: Tensor, lengths: Tensor) -> Tensor:
        """`[B, C, n]` with what lies behind `lengths` `[B]` replaced by the mask."""
        hidden = (torch.arange(values.shape[2], device=values.device) >= lengths.unsqueeze(1)).unsqueeze(1)
        if self.mask is None:
            return values.masked_fill(hidden, 0.0)
        return torch.where(hidden, self.mask.to(values.dtype).unsqueeze(1), values)

    def operating_points(self, tokenizer: ComposedTokenizer) -> dict[str, Callable[[Latents], Tensor]]:
        """Decoding of the first 1, 2, 4, ... tokens."""
        lengths = self.config.prefixes(self.tokens)
        return {f"prefix_{length}": partial(_decode, tokenizer, length) for length in lengths}


def _decode(tokenizer: ComposedTokenizer, length: int, latents: Latents) -> Tensor:
    tensor = latents.values if latents.values is not None else latents.codes
    assert tensor is not None
    lengths = torch.full((len(tensor),), length, device=tensor.device)
    return tokenizer.decode(replace(latents, lengths=lengths))
