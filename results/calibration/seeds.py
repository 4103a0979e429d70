"""Whether a proxy predicts what differs between the seeds of one tokenizer: what a noise ceiling takes for noise."""

from __future__ import annotations

import math

import numpy as np

from .levels import Correlation, Rows, correlate, resample
from .observations import Observations


def seed_correlation(observations: Observations, name: str, draws: int, seed: int) -> Correlation | None:
    """Spearman's coefficient between a proxy's and the outcome's differences between seeds of one tokenizer.

    Of each tokenizer whose seeds have both, a seed's difference from the mean of those before it, so scaled that all
    have one variance (Helmert's contrasts; of two seeds, their difference), less the mean over tokenizers, since what
    all share of a seed moves no rank. With an interval whose families are drawn whole. None where the observations do
    not hold values by seed, or fewer than three differences are left.
    """
    x: list[float] = []
    y: list[float] = []
    places: list[int] = []
    numbers: list[int] = []
    for place, item in enumerate(observations.items):
        values = item.by_seed.get(name, ())
        both = [(a, b) for a, b in zip(values, item.outcome, strict=False) if a is not None]
        for k in range(1, len(both)):
            scale = math.sqrt(k / (k + 1))
            ends, sums = both[k], [math.fsum(side) for side in zip(*both[:k], strict=True)]
            x.append(scale * (ends[0] - sums[0] / k))
            y.append(scale * (ends[1] - sums[1] / k))
            places.append(place)
            numbers.append(k)
    if len(x) < 3:
        return None
    families = {family: i for i, family in enumerate(dict.fromkeys(item.family for item in observations.items))}
    sides = np.array([x, y])
    for number in set(numbers):
        same = np.array(numbers) == number
        sides[:, same] -= sides[:, same].mean(1, keepdims=True)
    rows = Rows(
        x=sides[0],
        outcomes=[*sides[1][:, None]],
        family=np.array([families[observations.items[i].family] for i in places], dtype=np.intp),
        place=np.array(places, dtype=np.intp),
    )
    return correlate("overall", "spearman", rows, resample(rows, draws, seed))
