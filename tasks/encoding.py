"""Encoding a data set once: both splits' latents and their statistics, in the files that `latents` describes.

Shape legend: N samples, B batch, C channels, H heads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..results.errors import UserError
from ..results.store import atomic_write
from ..tokenizers.interface import Latents, Tokenizer
from ..tokenizers.spec import LatentGrid, LatentSpec
from .chunks import Rows
from .config import Stored
from .interface import Split, slices
from .latents import STATISTICS, open_level
from .partial_files import PartialFiles

_CHUNK_BYTES = 64 << 20  # what the statistics read at a time
_WAITING_BYTES = 64 << 20  # what waits on a device before it is fetched


@torch.inference_mode()
def write_latents(
    tokenizer: Tokenizer,
    split: Split,
    folder: Path,
    name: str,
    *,
    device: torch.device,
    batch_size: int,
    stored: Stored = "float32",
    resume: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> None:
    """Encode all samples of `split` and write them to `folder` under `name` ("train", "val").

    Values and deviations are `stored` in float32 or, in half the space and rounded by 2^-11, in float16; codes as they
    are. Streams: memory holds one batch. Files get their names only when all are complete; with `resume` a call that
    was ended goes on from the rows that are safe, as `<name>.rows.part` says, or has nothing to do. Raises UserError
    when the disk is full or the folder can't be written, and when the tokenizer gives latents that differ from its
    spec, are not finite or too large for float16, or hold codes outside the codebook.
    """
    if isinstance(tokenizer, nn.Module):
        tokenizer.eval()
    total = len(split)
    if total == 0:
        raise UserError(f"{name}: no samples to encode")
    progress = progress or (lambda done, total, message: None)
    files = PartialFiles(folder, name, total, resume=resume)
    if files.finished:
        return

    def write(waiting: _Waiting) -> None:
        files.append(_arrays(waiting.indices(), waiting.tensors(), tokenizer.spec, split.labels, stored))

    waiting = _Waiting(device)
    try:
        for indices in slices(split, total, batch_size, start=files.done):
            tensors = _tensors(tokenizer.encode(split.batch(indices, device)), tokenizer.spec, len(indices))
            if not waiting.takes(tensors):
                write(waiting)
                waiting = _Waiting(device)
            waiting.append(indices, tensors)
            if waiting.full or indices[-1] + 1 == total:
                write(waiting)
                waiting = _Waiting(device)
            progress(int(indices[-1]) + 1, total, f"encoding {name}")
        files.finish()
    except BaseException:
        if not resume:
            files.remove()
        raise
    finally:
        files.close()


def _tensors(latents: Latents, spec: LatentSpec, size: int) -> dict[str, Tensor]:
    """File name endings and tensors of one batch, as the tokenizer gave them, of the shapes that `spec` says."""
    if len(latents.levels) != len(spec.grids):
        raise UserError(f"the tokenizer gave {len(latents.levels)} latent grids, its spec says {len(spec.grids)}")
    tensors: dict[str, Tensor] = {}
    for number, (level, grid) in enumerate(zip(latents.levels, spec.grids, strict=True)):
        prefix = f".{number}" if number else ""
        for part, rows in (("values", grid.channels), ("scale", grid.channels), ("codes", grid.heads)):
            tensor = getattr(level, part)
            if tensor is None:
                continue
            if tuple(tensor.shape) != (size, rows, *grid.shape):
                expected = (size, rows, *grid.shape)
                raise UserError(f"the tokenizer gave {part} of shape {tuple(tensor.shape)}, its spec says {expected}")
            tensors[f"{prefix}.{part}.npy"] = tensor
        if grid.heads and level.codes is None:
            raise UserError("the tokenizer's spec says that it is discrete, but it gave no codes")
        if not grid.heads and level.values is None:
            raise UserError("the tokenizer's spec says that it is continuous, but it gave no values")
        if level.lengths is not None:
            tensors[f"{prefix}.lengths.npy"] = level.lengths
    return tensors


class _Waiting:
    """Batches that still lie on a device: they come to the CPU many at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._rows = Rows()
        self._indices: list[np.ndarray] = []
        self._bytes = 0

    def takes(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether a batch has the same parts as those that wait."""
        return not self._indices or tensors.keys() == self._rows.parts.keys()

    def append(self, indices: np.ndarray, tensors: Mapping[str, Tensor]) -> None:
        """The next batch."""
        self._rows.add(tensors)
        self._indices.append(indices)
        self._bytes += sum(tensor.nbytes for tensor in tensors.values())

    @property
    def full(self) -> bool:
        """Whether it is time to fetch them."""
        return self._device.type == "cpu" or self._bytes >= _WAITING_BYTES

    def indices(self) -> np.ndarray:
        """Of all that wait."""
        return np.concatenate(self._indices)

    def tensors(self) -> dict[str, Tensor]:
        """Of all that wait, by the ending of the file's name, on the CPU."""
        return self._rows.joined()


def _arrays(
    indices: np.ndarray, tensors: Mapping[str, Tensor], spec: LatentSpec, labels: np.ndarray | None, stored: Stored
) -> dict[str, np.ndarray]:
    """File name endings and arrays as they are stored, of what the tokenizer gave for the samples at `indices`."""
    arrays: dict[str, np.ndarray] = {}
    for ending, tensor in tensors.items():
        *level, part, _ = ending.split(".")[1:]
        if part == "codes":
            arrays[ending] = _packed(tensor, spec.grids[int(level[0]) if level else 0])
        elif part == "lengths":
            arrays[ending] = tensor.long().numpy()
        else:
            if not bool(torch.isfinite(tensor).all()):
                raise UserError(f"the tokenizer gave {part} that are not finite: its training diverged")
            arrays[ending] = tensor.float().numpy() if stored == "float32" else _halved(tensor, part)
    if labels is not None:
        arrays[".labels.npy"] = np.asarray(labels[indices], dtype=np.int64)
    return arrays


def _halved(tensor: Tensor, part: str) -> np.ndarray:
    """In float16. Raises UserError where a number has no place in it."""
    halved = tensor.half()
    if not bool(torch.isfinite(halved).all()):
        largest = f"{float(tensor.abs().max()):.4g}"
        raise UserError(f'the tokenizer gave {part} up to {largest}, too large for evaluation.latents = "float16"')
    return halved.numpy()


def _packed(codes: Tensor, grid: LatentGrid) -> np.ndarray:
    """Codes `[B, H, *grid]` in the smallest integer type that holds the grid's codebooks."""
    flat = codes.flatten(2)
    if bool((flat < 0).any()) or bool((flat.amax(dim=(0, 2)) >= torch.tensor(grid.codebook_sizes)).any()):
        raise UserError(f"the tokenizer gave codes outside its codebooks of {list(grid.codebook_sizes)}")
    largest = max(grid.codebook_sizes)
    dtype = np.uint8 if largest <= 1 << 8 else np.uint16 if largest <= 1 << 16 else np.int32
    return codes.numpy().astype(dtype)


def write_statistics(folder: Path, *, published: bool = False) -> None:
    """Per-channel mean and standard deviation of the training split in `folder`, as `statistics.json`.

    Latents that come as a `published` normaliser leaves them have mean 0 and deviation 1 there, so that they stay so;
    what they really have is in the latents' files.
    Float64, streamed; the variance of a posterior counts: Var = Var(mode) + E(scale^2). Raises UserError when the
    training latents are missing or the file can't be written.
    """
    levels: list[dict[str, list[float]] | None] = []
    while True:
        arrays = open_level(folder, "train", len(levels))
        if not arrays:
            break
        moments = _moments(arrays["values"], arrays.get("scale")) if "values" in arrays else None
        if published and moments is not None:
            channels = len(moments["mean"])
            moments = {"mean": [0.0] * channels, "std": [1.0] * channels}
        levels.append(moments)
    if not levels:
        raise UserError(f"{folder}: no training latents; write them before their statistics")
    content = json.dumps({"split": "train", "levels": levels})
    atomic_write(folder / STATISTICS, content.encode())


def _moments(values: np.ndarray, scale: np.ndarray | None) -> dict[str, list[float]]:
    """Mean and standard deviation per channel of `[N, C, *grid]`; chunks merged by Chan's pairwise update."""
    count, mean, squares, posterior = 0, np.zeros(values.shape[1]), np.zeros(values.shape[1]), np.zeros(values.shape[1])
    axes = (0, *range(2, values.ndim))
    step = max(1, _CHUNK_BYTES // max(1, values[0].nbytes * 2))
    for start in range(0, len(values), step):
        chunk = np.asarray(values[start : start + step], dtype=np.float64)
        size = chunk.size // chunk.shape[1]
        chunk_mean = chunk.mean(axis=axes)
        shaped = chunk_mean.reshape(1, -1, *([1] * (chunk.ndim - 2)))
        delta = chunk_mean - mean
        squares += ((chunk - shaped) ** 2).sum(axis=axes) + delta**2 * (count * size / (count + size))
        mean += delta * (size / (count + size))
        count += size
        if scale is not None:
            posterior += (np.asarray(scale[start : start + step], dtype=np.float64) ** 2).sum(axis=axes)
    return {"mean": mean.tolist(), "std": np.sqrt((squares + posterior) / count).tolist()}
