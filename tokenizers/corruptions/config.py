"""What configurations of corruptions share, and the registry of them. No torch.

A corruption is what a denoising autoencoder (A4) reads in training in place of the signal. The losses compare with the
clean signal, and nothing is corrupted outside of training.
"""

from __future__ import annotations

from ..part import Part
from ..registry import Registry
from ..spec import SignalSpec


class CorruptionConfig(Part):
    """A random change of the encoder's input.

    Its target is constructed with the configuration, the signal and its downsampling, and is a `Corruption`.
    """

    def unsupported_reason(self, signal: SignalSpec) -> str | None:
        """Why such signals can't be corrupted so; None where they can."""
        return None


CORRUPTIONS = Registry(
    "corruption",
    "latentbench.corruptions",
    {
        "mask": "tokenizers.corruptions.mask_config:MaskConfig",
        "noise": "tokenizers.corruptions.noise_config:NoiseConfig",
    },
    base=CorruptionConfig,
)
