"""Whether reconstructions keep the signals' high frequencies, which squared error alone lets go (VQGAN, A10)."""

from __future__ import annotations

import torch
from torch import Tensor

from ...results.metric import Metric
from ...tokenizers.spec import Modality
from ..metrics.jackknife import interval_of, of_sums
from ..proxies.interface import sums_by_group
from ..proxies.spectrum import band_energies
from .interface import Probe, ProbeInput

RHO = 0.5


class HighFrequency(Probe):
    """See `HighFrequencyConfig`."""

    def measure(self, probed: ProbeInput) -> tuple[Metric, ...]:
        rows = []
        for _, x in probed.signals():
            decoded = probed.decode(probed.tokenizer.encode(x))
            rows.append(torch.stack([_energies(s, probed.signal.modality) for s in (decoded, x)], 1).double().cpu())
        energies = torch.cat(rows)
        value, se, half = of_sums(sums_by_group(energies), _ratio)
        over = "height and width of each frame" if probed.signal.modality is Modality.VIDEO else "all axes"
        line = f"DCT-II energy at Σ k/(n-1) > {RHO:g} of its maximum over {over}: of all reconstructions / all signals"
        return (
            Metric(
                name="high_frequency_ratio",
                value=value,
                se=se,
                interval=interval_of(value, half),
                n=len(energies),
                protocol=f"{line}; validation split",
            ),
        )


def _energies(x: Tensor, modality: Modality) -> Tensor:
    """Each sample's energy above ρ: `[B]`; a clip's is the sum over its frames."""
    if modality is not Modality.VIDEO:
        return band_energies(x, (RHO,))[:, 0]
    frames = x.transpose(1, 2).flatten(0, 1)
    return band_energies(frames, (RHO,))[:, 0].view(len(x), -1).sum(1)


def _ratio(sums: Tensor) -> float:
    return float(sums[0] / sums[1])
