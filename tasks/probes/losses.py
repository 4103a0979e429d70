"""The objective's terms as scores, so that each loss is judged by its own number."""

from __future__ import annotations

import torch
from torch import Tensor

from ...results.metric import Metric
from ...tokenizers.losses.config import LOSSES
from .interface import Probe, ProbeInput

# Those of the package that need no weights, at their default options.
KINDS = ("l1", "l2", "huber", "logit_laplace", "dwt", "stft", "mel")


class Losses(Probe):
    """See `LossesConfig`."""

    def measure(self, probed: ProbeInput) -> tuple[Metric, ...]:
        configs = [LOSSES.get(kind)() for kind in KINDS]
        terms = {c.kind: c.build(probed.signal) for c in configs if probed.signal.modality in c.modalities}
        values: dict[str, list[Tensor]] = {kind: [] for kind in terms}
        for _, x in probed.signals():
            decoded = probed.decode(probed.tokenizer.encode(x))
            for kind, term in terms.items():
                values[kind].append(term(decoded, x).double().cpu())
        line = "objective term at its default options, of clamped reconstructions; validation split"
        return tuple(
            Metric.from_samples(f"loss_{kind}", torch.cat(parts).tolist(), direction="lower", protocol=line)
            for kind, parts in values.items()
        )
