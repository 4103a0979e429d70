"""Encoding a data set once: both splits' latents and their statistics, in the files that `latents` describes.

Shape legend: N samples, B batch, C channels, H heads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO, FileIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..results.errors import UserError
from ..results.store import atomic_file, atomic_write
from ..tokenizers.interface import Latents, Tokenizer
from ..tokenizers.spec import LatentGrid, LatentSpec
from .interface import Split, slices
from .latents import STATISTICS, open_level

_CHUNK_BYTES = 64 << 20  # what the statistics read at a time


@torch.inference_mode()
def write_latents(
    tokenizer: Tokenizer,
    split: Split,
    folder: Path,
    name: str,
    *,
    device: torch.device,
    batch_size: int,
    progress: Callable[[int, int, str], None] | None = None,
) -> None:
    """Encode all samples of `split` and write them to `folder` under `name` ("train", "val").

    Streams: memory holds one batch. Files get their names only when all are complete. Raises UserError when the disk
    is full or the folder can't be written, and when the tokenizer gives latents that differ from its spec, are not
    finite, or hold codes outside the codebook.
    """
    if isinstance(tokenizer, nn.Module):
        tokenizer.eval()
    total = len(split)
    if total == 0:
        raise UserError(f"{name}: no samples to encode")
    with ExitStack() as stack:
        files: dict[str, _NpyStream] = {}
        for indices in slices(split, total, batch_size):
            start = int(indices[0])
            latents = tokenizer.encode(split.batch(indices, device))
            arrays = _arrays(latents, tokenizer.spec, len(indices))
            if start > 0 and arrays.keys() != files.keys():
                raise UserError(f"{name}: from sample {start} on the tokenizer gives other parts than before it")
            for ending, array in arrays.items():
                if start == 0:
                    path = folder / f"{name}{ending}"
                    files[ending] = stack.enter_context(_NpyStream.create(path, total, array))
                files[ending].append(array)
            if progress is not None:
                progress(int(indices[-1]) + 1, total, f"encoding {name}")
        if split.labels is not None:
            labels = np.asarray(split.labels, dtype=np.int64)
            stack.enter_context(_NpyStream.create(folder / f"{name}.labels.npy", total, labels)).append(labels)


def _arrays(latents: Latents, spec: LatentSpec, size: int) -> dict[str, np.ndarray]:
    """File name endings and arrays of one batch, checked against `spec`."""
    if len(latents.levels) != len(spec.grids):
        raise UserError(f"the tokenizer gave {len(latents.levels)} latent grids, its spec says {len(spec.grids)}")
    arrays: dict[str, np.ndarray] = {}
    for number, (level, grid) in enumerate(zip(latents.levels, spec.grids, strict=True)):
        prefix = f".{number}" if number else ""
        for part, rows in (("values", grid.channels), ("scale", grid.channels), ("codes", grid.heads)):
            tensor = getattr(level, part)
            if tensor is None:
                continue
            if tuple(tensor.shape) != (size, rows, *grid.shape):
                expected = (size, rows, *grid.shape)
                raise UserError(f"the tokenizer gave {part} of shape {tuple(tensor.shape)}, its spec says {expected}")
            if part == "codes":
                arrays[f"{prefix}.codes.npy"] = _packed(tensor, grid)
            else:
                if not bool(torch.isfinite(tensor).all()):
                    raise UserError(f"the tokenizer gave {part} that are not finite: its training diverged")
                arrays[f"{prefix}.{part}.npy"] = tensor.float().cpu().numpy()
        if grid.heads and level.codes is None:
            raise UserError("the tokenizer's spec says that it is discrete, but it gave no codes")
        if not grid.heads and level.values is None:
            raise UserError("the tokenizer's spec says that it is continuous, but it gave no values")
        if level.lengths is not None:
            arrays[f"{prefix}.lengths.npy"] = level.lengths.long().cpu().numpy()
    return arrays


def _packed(codes: Tensor, grid: LatentGrid) -> np.ndarray:
    """Codes `[B, H, *grid]` in the smallest integer type that holds the grid's codebooks."""
    flat = codes.flatten(2)
    sizes = torch.tensor(grid.codebook_sizes, device=codes.device)
    if bool((flat < 0).any()) or bool((flat.amax(dim=(0, 2)) >= sizes).any()):
        raise UserError(f"the tokenizer gave codes outside its codebooks of {list(grid.codebook_sizes)}")
    largest = max(grid.codebook_sizes)
    dtype = np.uint8 if largest <= 1 << 8 else np.uint16 if largest <= 1 << 16 else np.int32
    return codes.cpu().numpy().astype(dtype)


class _NpyStream:
    """A `.npy` file of known shape, written in order.

    Written, not memory-mapped: a full disk raises an error here, where a mapped page would kill the process.
    """

    def __init__(self, file: FileIO, total: int, like: np.ndarray) -> None:
        self._file, self._dtype = file, like.dtype
        header = BytesIO()
        description = {"descr": np.lib.format.dtype_to_descr(like.dtype), "fortran_order": False}
        np.lib.format.write_array_header_1_0(header, {**description, "shape": (total, *like.shape[1:])})
        self._write(header.getvalue())

    @classmethod
    @contextmanager
    def create(cls, path: Path, total: int, like: np.ndarray) -> Iterator[_NpyStream]:
        """A file for `total` rows like those of `like`, at `path` once the block is left without an error."""
        with atomic_file(path) as temporary, FileIO(temporary, "w") as file:
            yield cls(file, total, like)

    def append(self, rows: np.ndarray) -> None:
        self._write(np.ascontiguousarray(rows, dtype=self._dtype).data.cast("B"))

    def _write(self, content: bytes | memoryview) -> None:
        view = memoryview(content)
        while view:
            view = view[self._file.write(view) :]


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
