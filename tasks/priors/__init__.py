"""Priors: generative models of frozen latents."""
