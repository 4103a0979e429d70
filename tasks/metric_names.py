"""The names of metrics as patterns, for what is checked before anything is measured. Torch-free.

`<n>` stands for a number, `<net>` for a feature net, `<loss>` for a regression term, `<point>` for an operating point
(a depth of residual codes, say).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from ..tokenizers.bottlenecks.config import BOTTLENECKS
from ..tokenizers.diffusion_decoders.config import DIFFUSION_DECODERS
from ..tokenizers.losses.config import LOSSES
from ..tokenizers.regularisers.config import REGULARISERS
from .nets.config import SELF_SUPERVISED, SUPERVISED, nets

_NUMBER = re.compile(r"\d+")
_NUMBERS_OF_AN_EXAMPLE = 2


def with_point(names: Iterable[str]) -> list[str]:
    """The names of the same metrics at an operating point."""
    return [f"{name}_<point>" for name in names]


def points() -> list[str]:
    """The operating points that tokenizers' parts declare."""
    parts = (registry.get(name) for registry in (BOTTLENECKS, REGULARISERS, DIFFUSION_DECODERS) for name in registry)
    return sorted({point for part in parts for point in part.points})


def compiled(patterns: Iterable[str]) -> re.Pattern[str]:
    """What matches the names by any of the patterns, whole."""
    choices = {token: f"(?:{'|'.join(map(re.escape, values))})" for token, values in _values().items()}
    of_points = "|".join(re.escape(point).replace("<n>", r"\d+") for point in points())
    known = {**choices, "<n>": r"\d+", "<point>": f"(?:{of_points})"}
    return re.compile("|".join(_translated(pattern, known) for pattern in dict.fromkeys(patterns)))


def examples(patterns: Iterable[str], *, like: str) -> Iterator[str]:
    """Names by the patterns, with the numbers of the name `like`: what it may have been meant to be."""
    numbers = [*_NUMBER.findall(like)[:_NUMBERS_OF_AN_EXAMPLE], *["1"] * _NUMBERS_OF_AN_EXAMPLE]
    values = {**_values(), "<point>": points()}
    for pattern in patterns:
        for name in _filled([pattern], values):
            for number in numbers:
                name = name.replace("<n>", number, 1)
            yield name.replace("<n>", "1")


def _values() -> dict[str, Sequence[str]]:
    return {"<net>": [*nets.names(), SELF_SUPERVISED, SUPERVISED], "<loss>": LOSSES.names()}


def _translated(pattern: str, known: dict[str, str]) -> str:
    parts = re.split(r"(<[a-z]+>)", pattern)
    return "".join(known[part] if part in known else re.escape(part) for part in parts)


def _filled(names: list[str], values: dict[str, Sequence[str]]) -> list[str]:
    for token, choices in values.items():
        names = [name.replace(token, choice) for name in names for choice in (choices if token in name else [""])]
    return names
