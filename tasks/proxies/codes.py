"""Use and entropy of a discrete tokenizer's codes."""

from __future__ import annotations

from ...results.metric import Metric
from ..metrics.codes import CodeHistogram, code_metrics
from ..metrics.jackknife import group_of
from .interface import Proxy, ProxyInput


class Codes(Proxy):
    """See `CodeUseConfig`."""

    def metrics(self, latents: ProxyInput) -> tuple[Metric, ...]:
        if latents.codes is None:
            return ()
        histograms = []
        for part in group_of(max(len(latents.codes), 1), 10):
            histogram = CodeHistogram(latents.codebook_sizes)
            histogram.update(latents.codes[part])
            histograms.append(histogram)
        return code_metrics(histograms)
