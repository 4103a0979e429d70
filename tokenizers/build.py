"""From a configuration to a tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .config import TokenizerConfig

if TYPE_CHECKING:
    from .interface import TrainableTokenizer


def build(config: TokenizerConfig) -> TrainableTokenizer:
    """The tokenizer that `config` describes, with fresh weights from torch's global generator, on the CPU."""
    if config.codec is not None:
        from .codecs.tokenizer import CodecTokenizer

        return CodecTokenizer(config)
    if config.recoding is not None:
        from .sequence_coding.tokenizer import RecodedTokenizer

        return RecodedTokenizer(config)
    from .composed import ComposedTokenizer

    return ComposedTokenizer(config)
