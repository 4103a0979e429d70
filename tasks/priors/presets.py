"""Model sizes by name, so that priors of different kinds are compared at like sizes. Needs no torch.

`size = "s"` in a prior's table stands for that size's options; options that are given beside it win.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ...results.errors import UserError, unknown

# about 0.4, 2.7 and 21 million parameters in an autoregressive trunk, half as many again in a conditioned one
TRANSFORMER: Mapping[str, Mapping[str, Any]] = {
    "xs": {"width": 96, "layers": 4, "attention_heads": 3},
    "s": {"width": 192, "layers": 6, "attention_heads": 6},
    "m": {"width": 384, "layers": 12, "attention_heads": 6},
}


def sizes_of(config: type) -> Mapping[str, Mapping[str, Any]]:
    """The named sizes of a prior's configuration: its own `sizes`, else those of a transformer; empty where neither."""
    own: Mapping[str, Mapping[str, Any]] | None = getattr(config, "sizes", None)
    if own is not None:
        return own
    names = {field.name for field in dataclasses.fields(config)}
    return TRANSFORMER if {"width", "layers", "attention_heads"} <= names else {}


def with_size(config: type, options: Mapping[str, Any], *, where: str) -> Mapping[str, Any]:
    """`options` with "size" replaced by what it stands for; unchanged without it.

    Raises UserError for an unknown size, and for a prior that has none.
    """
    if "size" not in options or any(field.name == "size" for field in dataclasses.fields(config)):
        return options
    known, size = sizes_of(config), options["size"]
    if not known:
        raise UserError(f"{where}: size: this prior has no named sizes; give its options")
    if not isinstance(size, str) or size not in known:
        raise unknown("size", str(size), list(known), where=f"{where}: size")
    return {**known[size], **{key: value for key, value in options.items() if key != "size"}}
