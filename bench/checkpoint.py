"""A training's checkpoint file: tensors and facts under one digest, compared with what they go into before any is used.

What was read is either exactly what was written, for exactly this training, or no checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from ..tasks.tensors import digest_of, kind_of, save_tensors


class InvalidCheckpoint(ValueError):
    """Not a checkpoint of this training; `str(error)` is the reason, in one line."""


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Put both in the file `path`, all or nothing. Raises UserError when it can't be written."""
    host = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps(facts)
    save_tensors(path, host, {"state": text, "sha256": digest_of(host, text)})


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_checkpoint` wrote. Raises FileNotFoundError, and InvalidCheckpoint for a file with another digest."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        if metadata["sha256"] != digest_of(tensors, metadata["state"]):
            raise InvalidCheckpoint("its digest is another")
        facts = json.loads(metadata["state"])
    except FileNotFoundError:
        raise
    except InvalidCheckpoint:
        raise
    except Exception as error:  # whatever a damaged file makes the library raise
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise InvalidCheckpoint(" ".join(reason.split())) from None
    if not isinstance(facts, dict):
        raise InvalidCheckpoint("its state is no table")
    return tensors, facts


def check_alike(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Compare names, shapes and types with what the tensors go into. Raises InvalidCheckpoint for any difference."""
    for name in [*expected, *tensors]:
        if name not in tensors:
            raise InvalidCheckpoint(f"{name} is missing")
        if name not in expected:
            raise InvalidCheckpoint(f"{name} is unknown to this version")
        ours, theirs = kind_of(expected[name]), kind_of(tensors[name])
        if ours != theirs:
            raise InvalidCheckpoint(f"{name} is {theirs} and not {ours}")
