"""What a recoding is to the tokenizer that holds it.

Shape legend: B batch, H heads and *grid those of the inner tokenizer's codes, R heads and L length of the sequence.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ..interface import Latents

if TYPE_CHECKING:
    from ..composed import ComposedTokenizer


class Recoding(nn.Module):
    """Codes `[B, H, *grid]` to sequences `[B, R, L]` with lengths, and back without loss.

    One that only looks at codes implements `encode`, `decode` and perhaps `fit`; one that decides by what the tokenizer
    makes of them, and so keeps less of some samples, `learn`, `recode` and `restore`, which call the former here.
    """

    def learn(self, tokenizer: ComposedTokenizer, signals: Iterable[Tensor]) -> None:
        """Learn from the training split with the trained tokenizer, once after training."""
        self.fit(self.codes(tokenizer, signal) for signal in signals)

    def recode(self, tokenizer: ComposedTokenizer, signal: Tensor) -> tuple[Tensor, Tensor]:
        """A batch of signals to sequences `[B, R, L]`, zeros behind their ends, and lengths `[B]`."""
        return self.encode(self.codes(tokenizer, signal))

    def restore(self, sequences: Tensor, lengths: Tensor) -> tuple[Latents, int]:
        """What the tokenizer decodes, and how many of the sequences describe nothing exactly."""
        codes, malformed = self.decode(sequences, lengths)
        return Latents(codes=codes), malformed

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
