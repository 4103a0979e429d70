"""Tables of recipe options: their short names, and how one is laid over another. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..results.errors import UserError, unknown
from .bottlenecks.config import BOTTLENECKS

_WEIGHTED = ("losses", "auxiliary", "regularisers")
_PARTS = (
    "backbone",
    "bottleneck",
    "decoder",
    "diffusion_decoder",
    *_WEIGHTED,
    "training",
    "codec",
    "sequence_coding",
    "corruption",
    "scramble",
)
_PLAIN = ("downsample", "channels", "tsr", "kbps", "latent_noise")
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
# Tables by the names that they had once, for a message that says today's.
RENAMED = {"objective": "losses", "recoding": "sequence_coding"}


def normalise(options: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """`options` with short names moved to their part, bare weights of losses and objectives as tables, and a scramble's
    bare name as its table.

    Raises UserError for an unknown name, a part that is no table, and an option given twice.
    """
    result: dict[str, Any] = {}
    for name, value in options.items():
        at = f"{where}.{name}" if where else name
        if name in RENAMED:
            raise UserError(f"{at}: this table is now called {RENAMED[name]}")
        if name not in OPTIONS:
            raise unknown("option", name, OPTIONS, where=where)
        if name == "scramble" and isinstance(value, str):
            value = {"kind": value}
        if name in _PARTS:
            if not isinstance(value, Mapping):
                raise UserError(f"{at}: expected a table, got {value!r}")
            result[name] = {**value, **result.get(name, {})}
        elif name in _SHORT:
            part, key = _SHORT[name]
            if key in result.get(part, {}) or key in (options.get(part) or {}):
                raise UserError(f"{at}: the same as {part}.{key}, which is given too")
            result.setdefault(part, {})[key] = value
        else:
            result[name] = value
    for part in _WEIGHTED:
        if part in result:
            result[part] = {
                kind: dict(value) if isinstance(value, Mapping) else {"weight": value}
                for kind, value in result[part].items()
            }
    return result


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, tables key by key.

    Where both name a `kind` and the kinds differ, the table below is replaced, whose options were for something else. A
    number of `steps` replaces a budget in `flops`.
    """
    result = {key: dict(value) if isinstance(value, Mapping) else value for key, value in base.items()}
    for key, value in over.items():
        below = result.get(key)
        if not isinstance(value, Mapping):
            result[key] = value
        elif isinstance(below, Mapping) and (
            not below.get("kind") or value.get("kind", below["kind"]) == below["kind"]
        ):
            result[key] = merge(below, value)
        else:
            result[key] = dict(value)
    if "steps" in over and "flops" not in over and result.get("flops") is not None:
        result["flops"] = None
    return result


def merge_layer(base: Mapping[str, Any], layer: Mapping[str, Any], *, where: str = "") -> dict[str, Any]:
    """`merge` for the options of a tokenizer, both normalised, where a TSR or bitrate and what gives one exclude each
    other.

    A layer's `tsr` drops the channels and the codes per position that are set below it, and either of them drops a
    `tsr` below it; a `kbps` and the codes per position do the same to each other, and a `kbps` and a `tsr`. Only what
    one layer says about both is checked against each other.
    """
    below = dict(base)
    codes = _codes_option(base, layer, where=where)
    targets = layer.keys() & {"tsr", "kbps"}
    if targets:
        for key in {"tsr", "kbps"} | ({"channels"} if "tsr" in layer else set()):
            below.pop(key, None)
        if codes is not None and isinstance(below.get("bottleneck"), Mapping):
            below["bottleneck"] = {key: value for key, value in below["bottleneck"].items() if key != codes}
    elif codes in layer.get("bottleneck", {}):
        below.pop("tsr", None)
        below.pop("kbps", None)
    elif "channels" in layer:
        below.pop("tsr", None)
    return merge(below, layer)


def _codes_option(*layers: Mapping[str, Any], where: str) -> str | None:
    """The option that is the number of codes per position, of the bottleneck that the last layer to name one names."""
    kinds = [layer["bottleneck"].get("kind") for layer in layers if "bottleneck" in layer]
    kind = next((kind for kind in reversed(kinds) if kind is not None), None)
    if not isinstance(kind, str) or kind not in BOTTLENECKS:
        return None  # refused where the bottleneck is read
    option: str | None = BOTTLENECKS.get(kind, where=f"{where}.bottleneck.kind" if where else "").tsr_option
    return option
