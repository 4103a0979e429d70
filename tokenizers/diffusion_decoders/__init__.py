"""Diffusion decoders: conditional generative models that turn the feed-forward decoder's output into the signal."""
