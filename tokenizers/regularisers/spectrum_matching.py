"""Spectrum matching (B17): Ning et al. 2026 (arXiv 2603.14645), encoding and decoding spectrum matching."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import ranks
from ..auxiliary.base import LossTerms, TrainingStep
from ..auxiliary.config import TokenizerParts
from .base import Regulariser
from .prior_in_the_loop import moments
from .spectral import band_power, low_pass, present_bands
from .spectrum_matching_config import SpectrumMatchingConfig

_TINY = 1e-6
# The lowest cutoff of the decoding term: below it a small grid is left with nothing but its mean.
_LOWEST = 0.25


class SpectrumMatching(Regulariser):
    """weight x (KL(P || Q) + decoding x objective(decode(low pass of z), low pass of x)).

    P is the signal's mean power per band of relative frequency, raised to the power `flatten`, Q the latents', both
    scaled to sum 1 over the bands in which the latents have a frequency. Channels of the latents are normalised first,
    by moments with a gradient: their scales are no spectrum. The cutoff is uniform over relative frequencies.
    """

    def __init__(self, config: SpectrumMatchingConfig, tokenizer: TokenizerParts) -> None:
        super().__init__()
        self.config = config
        self.bands = min(config.bands, max(tokenizer.spec.grid.shape))
        self.grid = tuple(tokenizer.spec.grid.shape)

    def losses(self, training_step: TrainingStep) -> LossTerms:
        values, weight = training_step.bottleneck_output.latents, self.config.weight
        divergence = self.divergence(training_step.signal, values)
        losses = {"spectrum": weight * divergence}
        if self.config.decoding:
            losses["spectrum_decoding"] = weight * self.config.decoding * self._decoding(training_step)
        return LossTerms(losses=losses, logs={"spectrum_kl": divergence.detach()})

    def divergence(self, signal: Tensor, values: Tensor) -> Tensor:
        """KL of the latents' bands `[B, C, *grid]` from the signal's `[B, C', *signal]`, in nats."""
        mean, deviation = moments(values)
        present = present_bands(self.grid, self.bands, values.device)
        with torch.no_grad():
            power = ranks.averaged(band_power(signal.float(), self.bands))
            target = (power[present] + _TINY) ** self.config.flatten
            target = target / target.sum()
        share = ranks.averaged(band_power((values - mean) / deviation, self.bands))[present] + _TINY
        share = share / share.sum()
        return (target * (target / share).log()).sum()

    def _decoding(self, training_step: TrainingStep) -> Tensor:
        tokenizer, values, signal = (
            training_step.tokenizer,
            training_step.bottleneck_output.values,
            training_step.signal,
        )
        cutoff = _LOWEST + (1 - _LOWEST) * float(torch.rand(()))
        rows, weight = ranks.own_part(slice(0, max(1, ranks.count() * len(signal) // 2)), len(signal))
        if not weight:
            return values.new_zeros(())
        decoded = tokenizer.decode_values(low_pass(values[rows], cutoff))
        terms = tokenizer.objective(decoded.float(), low_pass(signal[rows].float(), cutoff))
        return weight * torch.stack(list(terms.values())).sum()
