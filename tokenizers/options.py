"""Tables of recipe options: their short names, and how one is laid over another. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..results.errors import UserError, unknown

_LOSSES = ("objective", "auxiliary", "regularisers")
_PARTS = ("backbone", "bottleneck", "decoder", *_LOSSES, "training", "codec", "recoding", "corruption")
_PLAIN = ("downsample", "channels", "tsr", "latent_noise")
_SHORT = {
    "codebook_size": ("bottleneck", "codebook_size"),
    "codebook": ("bottleneck", "codebook_size"),
    "heads": ("bottleneck", "heads"),
    "levels": ("bottleneck", "levels"),
    "width": ("backbone", "width"),
    "tokens": ("backbone", "tokens"),
    "quality": ("codec", "quality"),
}
OPTIONS = (*_PLAIN, *_PARTS, *_SHORT)


def normalise(options: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """`options` with short names moved to their part and bare weights of losses and objectives as tables.

    Raises UserError for an unknown name, a part that is no table, and an option given twice.
    """
    result: dict[str, Any] = {}
    for name, value in options.items():
        if name not in OPTIONS:
            raise unknown("option", name, OPTIONS, where=where)
        if name in _PARTS:
            if not isinstance(value, Mapping):
                at = f"{where}.{name}" if where else name
                raise UserError(f"{at}: a table is wanted, got {value!r}")
            result[name] = {**value, **result.get(name, {})}
        elif name in _SHORT:
            part, key = _SHORT[name]
            if key in result.get(part, {}) or key in (options.get(part) or {}):
                at = f"{where}.{name}" if where else name
                raise UserError(f"{at}: the same as {part}.{key}, which is given too")
            result.setdefault(part, {})[key] = value
        else:
            result[name] = value
    for part in _LOSSES:
        if part in result:
            result[part] = {
                kind: dict(value) if isinstance(value, Mapping) else {"weight": value}
                for kind, value in result[part].items()
            }
    return result


def merge(base: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """`layer` over `base`, tables key by key; both normalised.

    A table of another `kind` replaces the one below it, whose options were for something else. What a TSR decides and
    what decides a TSR replace each other, so that only what the same layer says about both can disagree.
    """
    below = {key: dict(value) if isinstance(value, Mapping) else value for key, value in base.items()}
    if "tsr" in layer:
        below.pop("channels", None)
        if isinstance(below.get("bottleneck"), Mapping):
            for key in _counts(below):
                below["bottleneck"].pop(key)
    elif "channels" in layer or _counts(layer):
        below.pop("tsr", None)
    for key, value in layer.items():
        under = below.get(key)
        if isinstance(value, Mapping) and isinstance(under, Mapping) and value.get("kind") in (None, under.get("kind")):
            below[key] = merge(under, value)
        else:
            below[key] = dict(value) if isinstance(value, Mapping) else value
    return below


def _counts(table: Mapping[str, Any]) -> list[str]:
    """The options that are a number of codes per position, and so decide a TSR (fsq's levels are a list)."""
    bottleneck = table.get("bottleneck")
    options = bottleneck if isinstance(bottleneck, Mapping) else {}
    return [key for key in ("heads", "levels") if isinstance(options.get(key), int)]
