"""Generative decoders: conditional generative models that turn a decoder's output into the signal."""
