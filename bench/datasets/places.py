"""Which parts of a file become samples, and whether the file is whole. Numpy alone."""

from __future__ import annotations

import numpy as np

# What may be missing of a duration before a file counts as cut short: codecs pad and containers round.
_SLACK_SHARE = 0.01
_SLACK_SECONDS = 0.1


def choose(count: int, most: int, crop: str, generator: np.random.Generator) -> list[int]:
    """At most `most` of `count` places, in order: the middle ones, evenly spread ones (tiles), or random ones."""
    if most >= count:
        return list(range(count))
    if crop == "center":
        start = (count - most) // 2
        return list(range(start, start + most))
    if crop == "tiles":
        return [(2 * i + 1) * count // (2 * most) for i in range(most)]
    return sorted(int(i) for i in generator.choice(count, most, replace=False))


def complete(seconds: float, declared: float, *, slack: float = 0.0) -> bool:
    """Whether `seconds` of material are all of the `declared` duration, give or take 1 % and 0.1 s (and `slack`)."""
    return seconds >= declared * (1 - _SLACK_SHARE) - _SLACK_SECONDS - slack
