"""Scores of generated samples that a suite asks for beyond distances: see the registry `scores`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..results.errors import UserError
from ..results.metric import Metric
from .interface import FeatureNet
from .metrics import scores
from .metrics.interface import SampleSet, Score


def check_nets(names: Sequence[str], nets: Mapping[str, FeatureNet]) -> None:
    """Raises UserError when one of the loaded `nets` lacks what a score of these `names` needs of it."""
    for net in nets.values():
        _defined_on(net, names)


def sample_scores(names: Sequence[str], samples: SampleSet) -> tuple[list[Metric], dict[str, Any]]:
    """The scores called `names` that are defined on the samples' net, in their order, and the facts worth keeping.

    Raises UserError as `check_nets` does.
    """
    metrics: list[Metric] = []
    extra: dict[str, Any] = {}
    for score in _defined_on(samples.net, names):
        measured, facts = score.measure(samples)
        metrics += measured
        extra |= facts
    return metrics, extra


def _defined_on(net: FeatureNet, names: Sequence[str]) -> list[Score]:
    configs = [scores.get(name)() for name in names]
    built: list[Score] = [config.build() for config in configs if config.only_net in (None, net.name)]
    for score in built:
        reason = score.unsupported_reason(net)
        if reason is not None:
            raise UserError(f"{score.config.kind} {reason}")
    return built
