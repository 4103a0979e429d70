"""How large grids become tokens: patch sizes per axis as arithmetic. Needs no torch."""

from __future__ import annotations

import math


def counts(shape: tuple[int, ...], patch: tuple[int, ...] | list[int]) -> tuple[int, ...]:
    """Patches along each axis; the last ones are padded where a patch does not divide the axis."""
    return tuple(-(-size // step) for size, step in zip(shape, patch, strict=True))


def choose_patch(shape: tuple[int, ...], most: int) -> tuple[int, ...]:
    """Positions per patch along each axis: the powers of two that leave at most `most` patches, longest axis first."""
    chosen = [1] * len(shape)
    while math.prod(counts(shape, chosen)) > most:
        tokens = counts(shape, chosen)
        chosen[tokens.index(max(tokens))] *= 2
    return tuple(chosen)
