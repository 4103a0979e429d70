"""JSON that is equal for equal data: for files that people read, and for hashes."""

from __future__ import annotations

import json
from typing import Any

_COMPACT = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False, check_circular=False)


def pretty(data: Any) -> bytes:
    """A file's bytes: sorted keys, two spaces, floats by repr, a newline at the end; odd file names escaped."""
    text = json.dumps(data, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def compact(data: Any) -> str:
    """A line of ASCII with sorted keys and no spaces. Raises ValueError on NaN and infinity, as `pretty` does."""
    return _COMPACT.encode(data)
