"""What a recoding is to the tokenizer that holds it.

Shape legend: B batch, H heads and *grid those of the inner tokenizer's codes, R heads and L length of the sequence.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from ..composed import ComposedTokenizer


class Recoding(nn.Module):
    """Codes `[B, H, *grid]` to sequences `[B, R, L]` with lengths, and back without loss."""

    def fit(self, codes: Iterable[Tensor]) -> None:
        """Learn from the training split's codes, batches of `[B, H, *grid]`, once after training."""

    def codes(self, tokenizer: ComposedTokenizer, signal: Tensor) -> Tensor:
        """The codes to be recoded, `[B, H, *grid]`: by default those that the tokenizer gives."""
        codes = tokenizer.encode(signal).codes
        if codes is None:
            raise ValueError("only codes can be recoded")
        return codes

    def encode(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Sequences `[B, R, L]`, zeros behind their ends, and lengths `[B]`."""
        raise NotImplementedError

    def decode(self, sequences: Tensor, lengths: Tensor) -> tuple[Tensor, int]:
        """The codes `[B, H, *grid]`, and how many sequences describe none exactly.

        Those (which only a prior can make) are cut where they are too long; what is missing repeats the last code.
        """
        raise NotImplementedError
