"""Scores of generated samples that a suite asks for beyond the distances, by name: see `SCORES` in `config.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..results.errors import UserError
from ..results.metric import Metric
from .distances import Reference
from .interface import FeatureNet
from .metrics.extrapolate import infinity_metric
from .metrics.inception_score import inception_score_metric, logits_of
from .metrics.manifold import manifold_metrics
from .metrics.memorisation import memorisation


def sample_scores(
    wanted: Sequence[str],
    net: FeatureNet,
    features: Tensor,
    reference: Reference,
    splits: Mapping[tuple[str, str], Any],
    *,
    note: str = "",
    seed: int,
) -> tuple[list[Metric], dict[str, Any]]:
    """The `wanted` scores of samples' `features` `[N, dim]` under one net, and what else is worth keeping.

    `reference` is what distances compare with; `splits` holds the references by (net, split), both of which
    "memorisation" needs. The kept facts are the pairs of sample and training sample that are closest.
    Raises UserError for "inception_score" with weights that lack their classifier.
    """
    note = f"; {note}" if note else ""
    protocol = f"{net.protocol}; reference: {reference.split} split{note}"
    known = reference.frechet.features
    assert known is not None  # references are made with their features
    metrics: list[Metric] = []
    extra: dict[str, Any] = {}
    inception = net.name == "inception"
    if "manifold" in wanted:
        metrics += manifold_metrics(net.name, features, reference.manifold or known, protocol=protocol)
    if "fd_infinity" in wanted:
        name = "fid_infinity" if inception else f"fd_infinity_{net.name}"
        metrics.append(infinity_metric(name, features, reference.frechet, protocol=protocol))
    if "memorisation" in wanted:
        train, val = (splits[net.name, split].frechet.features for split in ("train", "val"))
        found = memorisation(net.name, features, train, val, protocol=net.protocol + note, seed=seed)
        metrics += found.metrics
        extra["closest_to_training"] = list(found.closest)
    if "inception_score" in wanted and inception:
        metrics.append(inception_score_metric(logits_of(features, classifier_of(net)), protocol=net.protocol))
    return metrics, extra


def classifier_of(net: FeatureNet) -> Tensor:
    """The classifier that an Inception carries. Raises UserError when its weights file has none."""
    weight = getattr(net, "classifier", None)
    if weight is None:
        raise UserError("inception_score needs the net's classifier, which its weights file does not hold")
    return weight
