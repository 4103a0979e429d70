"""Inception score (Salimans et al. 2016, arXiv 1606.03498): exp of the mean KL of p(y | x) to p(y).

It is for weights that carry their classifier. The files made for FID often leave it out, or hold zeros in its place,
which would score exactly 1 whatever the samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...results.errors import UserError
from ...results.metric import Metric
from ..interface import FeatureNet
from .interface import SampleSet, Score
from .jackknife import delete_a_group, group_of, interval_of
from .precision import full_precision

_WEIGHT = "fc.weight"


class InceptionScore(Score):
    """See `InceptionScoreConfig`."""

    def unsupported_reason(self, net: FeatureNet) -> str | None:
        return None if _classifier_of(net) is not None else "needs a classifier, which the net's weights file lacks"

    def measure(self, samples: SampleSet) -> tuple[list[Metric], dict[str, Any]]:
        weight = _classifier_of(samples.net)
        assert weight is not None
        logits = logits_of(samples.features, weight)
        return [inception_score_metric(logits, protocol=samples.net.protocol)], {}


def _classifier_of(net: FeatureNet) -> Tensor | None:
    weight: Tensor | None = getattr(net, "classifier", None)
    return weight


def classifier(tensors: Mapping[str, Tensor], *, path: Path | str = "weights", where: str = "") -> Tensor:
    """The classifier `[classes, 2048]` of an Inception weights file.

    Raises UserError when it is absent, or no classifier: zeros, or the same row for every class.
    """
    weight = tensors.get(_WEIGHT)
    prefix = f"{where}: " if where else ""
    if weight is None or weight.ndim != 2:
        raise UserError(f"{prefix}inception_score needs the net's classifier, and {path} has no {_WEIGHT}")
    if not bool((weight != weight[:1]).any()):
        raise UserError(
            f"{prefix}inception_score needs the net's classifier, and in {path} {_WEIGHT} is the same for all classes"
        )
    return weight


def logits_of(features: Tensor, weight: Tensor) -> Tensor:
    """Pool features `[N, D]` to logits `[N, classes]`, without the bias, as the score was first computed."""
    with full_precision():
        return features.float() @ weight.to(features.device).float().t()


def inception_score(logits: Tensor) -> float:
    """exp(mean over samples of KL(p(y | x) ‖ p(y))) of logits `[N, classes]`, all samples at once."""
    return _score(*_sums(logits, [slice(None)]))


def inception_score_metric(
    logits: Tensor, *, protocol: str, splits: int = 10, name: str = "inception_score", groups: int = 10
) -> Metric:
    """The mean score over `splits` equal parts of the samples (dealt by turns), as published scores are computed.

    Standard error and 95 % interval by a delete-a-group jackknife over the samples of every part: the deviation between
    parts, which papers print, says little about their mean. Samples whose logits are not finite are left out and
    counted; the value is None for fewer than two samples a part.
    """
    finite = logits[torch.isfinite(logits).all(1)]
    n = len(finite)
    value = se = half = None
    if n >= 2 * splits:
        parts = [finite[part] for part in group_of(n, splits)]
        groups = min(groups, n // (2 * splits))
        sums = [_sums(part, group_of(len(part), max(groups, 1))) for part in parts]
        value = math.fsum(_score(*s) for s in sums) / splits
        if groups > 1:
            without = [math.fsum(_score(*s, without=g) for s in sums) / splits for g in range(groups)]
            se, half = delete_a_group(without)
    interval = interval_of(value, half)
    line = f"{protocol}; mean over {splits} splits of {n} samples; logits without bias".removeprefix("; ")
    return Metric(
        name=name,
        value=value,
        se=se,
        interval=None if interval is None else (max(1.0, interval[0]), interval[1]),
        n=n,
        missing=len(logits) - n,
        direction="higher",
        protocol=line,
        role="distribution",
    )


def _sums(logits: Tensor, parts: list[slice]) -> tuple[Tensor, Tensor, Tensor]:
    """Per part: the sum of Σ p ln p `[G]`, the sum of p `[G, classes]`, and the count `[G]`."""
    log_p = logits.double().log_softmax(1)
    p = log_p.exp()
    negative_entropy = (p * log_p).sum(1)
    counts = torch.tensor([len(p[part]) for part in parts], dtype=torch.float64, device=p.device)
    return (
        torch.stack([negative_entropy[part].sum() for part in parts]),
        torch.stack([p[part].sum(0) for part in parts]),
        counts,
    )


def _score(negative_entropy: Tensor, p: Tensor, counts: Tensor, *, without: int | None = None) -> float:
    total = [x.sum(0) - (0 if without is None else x[without]) for x in (negative_entropy, p, counts)]
    mean = total[1].clamp_min(0) / total[2]
    return math.exp(float(total[0] / total[2] - torch.special.xlogy(mean, mean).sum()))
