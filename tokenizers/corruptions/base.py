"""What a corruption is to the tokenizer that trains with it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

# `[B, C, *signal]` to a corrupted copy of the same shape, drawn from torch's global generator.
Corruption = Callable[[Tensor], Tensor]
