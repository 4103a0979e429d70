"""From a configuration to a tokenizer."""

from __future__ import annotations

from .adapters.tokenizer import AdapterTokenizer
from .codecs.tokenizer import CodecTokenizer
from .composed import ComposedTokenizer
from .config import TokenizerConfig
from .interface import TrainableTokenizer
from .scrambles.tokenizer import ScrambledTokenizer
from .sequence_coding.tokenizer import SequenceCodedTokenizer


def build(config: TokenizerConfig) -> TrainableTokenizer:
    """The tokenizer that `config` describes, with fresh weights from torch's global generator, on the CPU.

    An adapter has its own weights: it is loaded from its files.
    """
    if config.scramble is not None:
        return ScrambledTokenizer(config, build(config.unscrambled))
    if config.adapter is not None:
        return AdapterTokenizer(config.adapter, config.signal, config.spec.grids)
    if config.codec is not None:
        return CodecTokenizer(config)
    if config.sequence_coding is not None:
        return SequenceCodedTokenizer(config)
    return ComposedTokenizer(config)
