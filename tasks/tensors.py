"""Tensors on disk: safetensors files (never pickle), written all or nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ..results.store import atomic_file


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Put `tensors` in the safetensors file `path`, from whatever device and layout: see `atomic_file`.

    Raises UserError when it can't be written.
    """
    # clone: safetensors refuses tensors that share memory (tied weights)
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    with atomic_file(path) as temporary:
        try:
            save_file(plain, temporary, metadata=None if metadata is None else dict(metadata))
        except SafetensorError as error:
            # It reports the system's error (a full disk) as text alone; the store knows what to say about an OSError.
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
