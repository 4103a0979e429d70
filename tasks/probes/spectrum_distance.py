"""How unlike the signal's a latent's power spectrum is (spectrum matching, B17; Ning et al. 2026, arXiv 2603.14645).

Shape legend: N samples, B batch, C channels, *axes those of a signal or a latent.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...results.metric import Metric
from ...tokenizers.regularisers.spectral import band_of, dct
from ..metrics.jackknife import interval_of, of_sums
from ..proxies.interface import sums_by_group
from .interface import Probe, ProbeInput, channels

BANDS = 16


class SpectrumDistance(Probe):
    """See `SpectrumDistanceConfig`."""

    def unsupported_reason(self, probed: ProbeInput) -> str | None:
        if not probed.has_values():
            return "the latents are codes without values"
        if probed.spec.topology != "grid" or len(probed.spec.grid.shape) != probed.signal.modality.rank:
            return "the latents do not lie on the signal's axes"
        if probed.spec.positions < 3:
            return "a latent of fewer than 3 positions has no spectrum"
        return None

    def measure(self, probed: ProbeInput) -> tuple[Metric, ...]:
        mean, std = probed.latents.moments[0] or (torch.zeros(1), torch.ones(1))
        bands = min(BANDS, max(probed.spec.grid.shape))
        rows = []
        for _, x in probed.signals():
            z = probed.tokenizer.encode(x).values
            assert z is not None
            z = (z.float() - channels(mean, z.float())) / channels(std, z.float()).clamp_min(1e-12)
            rows.append(torch.stack([band_powers(x.float(), bands), band_powers(z, bands)], 1).double().cpu())
        table = torch.cat(rows)
        table = table[:, :, band_of(probed.spec.grid.shape, bands)[1] > 0]
        value, se, half = of_sums(sums_by_group(table), divergence)
        line = (
            f"KL(signal || latent) of mean DCT-II power in {table.shape[2]} bands of relative frequency, each "
            "scaled to sum 1, the constant left out; latents normalised per channel by the training split"
        )
        return (
            Metric(
                name="psd_kl",
                value=value,
                se=se,
                interval=interval_of(value, half),
                n=len(table),
                direction="lower",
                unit="bit",
                protocol=f"{line}; validation split",
            ),
        )


def band_powers(x: Tensor, bands: int) -> Tensor:
    """Each sample's mean squared coefficients of `[B, C, *axes]` in `bands` equal bands of relative frequency in
    (0, 1): `[B, bands]`. The constant belongs to none; a band without a coefficient has 0."""
    index, counts = band_of(x.shape[2:], bands)
    power = dct(x).square().mean(1).flatten(1)[:, 1:]
    sums = power.new_zeros(len(x), bands).index_add(1, index.to(x.device), power)
    return sums / counts.clamp_min(1).to(x.device)


def divergence(sums: Tensor) -> float:
    """KL in bits of the second row of powers `[2, bands]` from the first, each scaled to sum 1."""
    p, q = sums / sums.sum(1, keepdim=True)
    return float(torch.where(p > 0, p * (p / q).log2(), 0.0).sum())
