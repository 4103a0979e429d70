"""Tensors on disk: safetensors files (never pickle), written all or nothing."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ..results.samples import VALUES
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


def digest_of(tensors: Mapping[str, Tensor], text: str) -> str:
    """SHA-256 of names, types, shapes and values, and of a text: what `safetensors` keeps beside its own layout."""
    digest = hashlib.sha256(text.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"\n{name} {kind_of(value)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def kind_of(tensor: Tensor) -> str:
    """Type and shape in words: `float32 [3, 4]`."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def save_samples(folder: Path, values: Mapping[str, Tensor]) -> None:
    """Put metrics' values by sample, `[N]` or by frame `[N, T]` (a clip counts once, by its mean), into a job's folder.

    In the order of the validation split; `results.samples` reads them. Without metrics the file is empty.
    """
    by_sample = {name: torch.nanmean(v, dim=1) if v.ndim == 2 else v for name, v in values.items()}
    save_tensors(folder / VALUES, {name: v.float() for name, v in by_sample.items()})
