"""Regularisers: auxiliary objectives that shape a latent space."""
