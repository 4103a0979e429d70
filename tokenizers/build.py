"""From a configuration to a tokenizer."""

from __future__ import annotations

import torch

from .adapters.tokenizer import AdapterTokenizer
from .codecs.tokenizer import CodecTokenizer
from .composed import ComposedTokenizer
from .config import TokenizerConfig
from .interface import TrainableTokenizer
from .scrambles.tokenizer import ScrambledTokenizer
from .sequence_coding.tokenizer import SequenceCodedTokenizer


def build(config: TokenizerConfig) -> TrainableTokenizer:
    """The tokenizer that `config` describes, with fresh weights from torch's global generator, on the CPU.

    An adapter has its own weights: it is loaded from its files. Who only measures may build one too: where gradients
    are off, parts are made as ever, whose parameters are to be trained and which may try a gradient.
    """
    with torch.inference_mode(False), torch.enable_grad():
        return _built(config)


def _built(config: TokenizerConfig) -> TrainableTokenizer:
    if config.scramble is not None:
        return ScrambledTokenizer(config, build(config.unscrambled))
    if config.adapter is not None:
        return AdapterTokenizer(config.adapter, config.signal, config.spec.grids)
    if config.codec is not None:
        return CodecTokenizer(config)
    if config.sequence_coding is not None:
        return SequenceCodedTokenizer(config)
    return ComposedTokenizer(config)
