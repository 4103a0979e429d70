"""Why a prior can't model some latents, in a user's words; None when it can. Needs no torch."""

from __future__ import annotations

from ...tokenizers.spec import LatentSpec


def one_ordered_grid(spec: LatentSpec) -> str | None:
    """A reason unless these latents are one grid or sequence."""
    if len(spec.grids) > 1:
        return f"it models one grid, and these latents are a hierarchy of {len(spec.grids)}"
    if spec.grid.topology == "set":
        return "it models ordered positions, and these latents are a set"
    return None


def one_fixed_grid(spec: LatentSpec) -> str | None:
    """A reason unless these latents are one grid or sequence of fixed length."""
    varying = "it models latents of fixed length, and these vary" if spec.grid.variable else None
    return one_ordered_grid(spec) or varying


def one_set(spec: LatentSpec) -> str | None:
    """A reason unless these latents are one set of fixed size."""
    if spec.topology != "set":
        return f"it models sets, and these latents are a {spec.topology}"
    return "it models sets of one size, and these vary" if spec.grid.variable else None


def needs_codes(spec: LatentSpec) -> str | None:
    """A reason unless these latents are codes."""
    return None if spec.discrete else "it models codes, and these latents are continuous"


def needs_values(spec: LatentSpec) -> str | None:
    """A reason unless these latents are continuous."""
    return "it models continuous latents, and these are codes" if spec.discrete else None


def one_axis(spec: LatentSpec) -> str | None:
    """A reason unless these latents have one axis."""
    axes = len(spec.grid.shape)
    return None if axes == 1 else f"it models latents of one axis, and these have {axes}"
