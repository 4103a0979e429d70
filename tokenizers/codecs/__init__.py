"""Codecs: tokenizers made by hand, with nothing to train."""
