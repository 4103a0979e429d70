"""Bottlenecks: what turns features into latents, and limits what they hold."""
