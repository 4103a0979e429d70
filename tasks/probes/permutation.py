"""Whether a decoder of a set reads the order of its tokens (token set, A15)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...results.metric import Metric
from ...tokenizers.interface import Latents
from ..priors.noise import uniform
from .interface import Probe, ProbeInput


class Permutation(Probe):
    """See `PermutationConfig`."""

    def unsupported_reason(self, probed: ProbeInput) -> str | None:
        if probed.spec.topology != "set":
            return f"the latents are a {probed.spec.topology}, whose order is information"
        return None

    def measure(self, probed: ProbeInput) -> tuple[Metric, ...]:
        same: list[float] = []
        for indices, x in probed.signals():
            latents = probed.tokenizer.encode(x)
            count = probed.spec.grid.positions
            keys = uniform(probed.seed, indices.tolist(), (count,)).to(probed.device)
            first, second = probed.tokenizer.decode(latents), probed.tokenizer.decode(permuted(latents, keys))
            same += (first == second).flatten(1).all(1).double().tolist()
        line = "share of samples whose tokens, in a random order, decode to the same bits; validation split"
        return (Metric.from_samples("permutation_invariance", same, direction="higher", protocol=line),)


def permuted(latents: Latents, keys: Tensor) -> Latents:
    """Latents of one axis, each sample's tokens sorted by `keys` `[B, N]` in [0, 1); those beyond `lengths` stay."""
    place = torch.arange(keys.shape[1], device=keys.device).expand_as(keys)
    if latents.lengths is not None:
        keys = torch.where(place < latents.lengths[:, None], keys, 1.0 + place)
    order = keys.argsort(1)

    def moved(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.gather(2, order[:, None].expand(-1, tensor.shape[1], -1))

    return replace(latents, values=moved(latents.values), codes=moved(latents.codes), scale=moved(latents.scale))
