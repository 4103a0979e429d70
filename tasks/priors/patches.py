"""How large grids become tokens: patch sizes per axis as arithmetic. Needs no torch."""

from __future__ import annotations

import math

from ...results.errors import UserError


def counts(shape: tuple[int, ...], patch: tuple[int, ...] | list[int]) -> tuple[int, ...]:
    """Patches along each axis; the last ones are padded where a patch does not divide the axis."""
    return tuple(-(-size // step) for size, step in zip(shape, patch, strict=True))


def choose_patch(shape: tuple[int, ...], patch: tuple[int, ...] | None, most: int, *, name: str) -> tuple[int, ...]:
    """Positions per patch along each axis: `patch`, or the powers of two that leave at most `most` patches.

    The longest axis is cut first. Raises UserError, naming the prior `name`, when `patch` has another rank than the
    grid.
    """
    if patch is not None:
        if len(patch) != len(shape):
            raise UserError(f"prior {name}: patch {list(patch)} has {len(patch)} axes, the latents {shape}")
        return patch
    chosen = [1] * len(shape)
    while math.prod(counts(shape, chosen)) > most:
        tokens = counts(shape, chosen)
        chosen[tokens.index(max(tokens))] *= 2
    return tuple(chosen)


def check_patch(patch: tuple[int, ...] | None, most: int) -> None:
    """Raises ValueError for a patch without a positive size per axis, or a limit below one patch."""
    if patch is not None and (not patch or min(patch) < 1):
        raise ValueError("patch needs a positive size per axis")
    if most < 1:
        raise ValueError("at least 1 token or position is needed")
