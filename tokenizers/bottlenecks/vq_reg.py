"""VQ-reg (A11), quantisation as the decoder's first layer, Rombach et al. 2022 (arXiv 2112.10752), section 3.1."""

from __future__ import annotations

from torch import Tensor

from ..interface import Latents
from .vq import VQ


class VQReg(VQ):
    """Trained exactly as `VQ`; its latents are the features before quantisation, which `expand` quantises.

    So a prior of continuous latents models them, and what it samples is pulled to the codes that the decoder knows.
    """

    def encode(self, features: Tensor) -> Latents:
        return Latents(values=features.float())

    def expand(self, latents: Latents) -> Tensor:
        """The nearest codes of `values`, `[B, C, *grid]`."""
        if latents.values is None:
            raise ValueError("the latents of vq_reg are continuous, and these have no values")
        quantised = super().encode(latents.values).values
        assert quantised is not None
        return quantised
