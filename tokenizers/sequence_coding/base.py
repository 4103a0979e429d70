"""What a sequence coding is to the tokenizer that holds it.

Shape legend: B batch, H heads and *grid those of the inner tokenizer's codes, R heads and L length of the sequence.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from ..composed import ComposedTokenizer
from ..interface import Latents


class SequenceCoding(nn.Module):
    """Codes `[B, H, *grid]` to sequences `[B, R, L]` with lengths, and back without loss.

    One that only looks at codes implements `encode_codes`, `decode_codes` and perhaps `fit_codes`; one that decides by
    what the tokenizer makes of them, and so codes less of some samples, `fit`, `encode` and `decode`.
    """

    def fit(self, tokenizer: ComposedTokenizer, signals: Iterable[Tensor]) -> None:
        """Learn from the training split with the trained tokenizer, once after training."""
        self.fit_codes(self.codes(tokenizer, signal) for signal in signals)

    def encode(self, tokenizer: ComposedTokenizer, signal: Tensor) -> tuple[Tensor, Tensor]:
        """A batch of signals to sequences `[B, R, L]`, zeros behind their ends, and lengths `[B]`."""
        return self.encode_codes(self.codes(tokenizer, signal))

    def decode(self, sequences: Tensor, lengths: Tensor) -> tuple[Latents, int]:
        """What the tokenizer decodes, and how many of the sequences are malformed."""
        codes, malformed = self.decode_codes(sequences, lengths)
        return Latents(codes=codes), malformed

    def codes(self, tokenizer: ComposedTokenizer, signal: Tensor) -> Tensor:
        """The codes to be coded as a sequence, `[B, H, *grid]`: by default those that the tokenizer gives."""
        codes = tokenizer.encode(signal).codes
        if codes is None:
            raise ValueError("only codes can be coded as a sequence")
        return codes

    def fit_codes(self, codes: Iterable[Tensor]) -> None:
        """Learn from the training split's codes, batches of `[B, H, *grid]`, once after training."""

    def encode_codes(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Sequences `[B, R, L]`, zeros behind their ends, and lengths `[B]`."""
        raise NotImplementedError

    def decode_codes(self, sequences: Tensor, lengths: Tensor) -> tuple[Tensor, int]:
        """The codes `[B, H, *grid]`, and how many sequences are malformed: describe no grid of codes exactly.

        Those (which only a prior can make) are cut where they are too long; what is missing repeats the last code.
        """
        raise NotImplementedError
