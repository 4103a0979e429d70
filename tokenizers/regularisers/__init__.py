"""Regularisers: what shapes a latent space beside the bottleneck and the objective."""
