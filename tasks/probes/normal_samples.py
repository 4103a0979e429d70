"""What a decoder makes of N(0, I): a sampler without a prior, which latents shaped like it allow (KL-VAE, A3)."""

from __future__ import annotations

from dataclasses import replace

import torch

from ...results.metric import Metric
from ...tokenizers.interface import Latents
from ..distances import distances
from ..priors.noise import normal
from ..reconstruction import net_features
from .interface import Probe, ProbeInput

SAMPLES = 256


class NormalSamples(Probe):
    """See `NormalSamplesConfig`."""

    def unsupported_reason(self, probed: ProbeInput) -> str | None:
        if probed.spec.discrete:
            return "codes have no normal distribution to be drawn from"
        if probed.spec.grid.variable:
            return "N(0, I) does not say how long a sample is"
        if not probed.readable_nets:
            return "no feature net of the suite reads these signals"
        return None

    def measure(self, probed: ProbeInput) -> tuple[Metric, ...]:
        nets = probed.readable_nets
        features: dict[str, list[torch.Tensor]] = {name: [] for name in nets}
        for start in range(0, SAMPLES, probed.batch_size):
            indices = range(start, min(start + probed.batch_size, SAMPLES))
            levels = [
                Latents(values=normal(probed.seed, indices, (grid.channels, *grid.shape), stream=number))
                for number, grid in enumerate(probed.spec.grids)
            ]
            levels = [replace(z, values=None if z.values is None else z.values.to(probed.device)) for z in levels]
            decoded = probed.decode(replace(levels[0], rest=tuple(levels[1:]))).nan_to_num()
            for name, net in nets.items():
                features[name].append(net_features(net, decoded, decoded).cpu())
        note = "samples decode(z), z from N(0, I) of the raw latents"
        metrics = []
        for name, net in nets.items():
            mine = torch.cat(features[name])
            frechet, _ = distances("g", net, mine, probed.references[name], note=note, seed=probed.seed)
            metrics.append(replace(frechet, name=f"normal_fd_{net.name}"))
        return tuple(metrics)
