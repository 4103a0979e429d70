"""Encoding a data set once: both splits' latents and their statistics, in the files that `latents` describes.

Shape legend: N samples, B batch, C channels, H heads.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import BytesIO, FileIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..results.digest import file_digest
from ..results.errors import UserError
from ..results.store import atomic_write
from ..tokenizers.interface import Latents, Tokenizer
from ..tokenizers.spec import LatentGrid, LatentSpec
from .chunks import SECONDS
from .interface import Split, slices
from .latents import STATISTICS, open_level

PART = ".part"  # ends the names of files that are being written
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
    resume: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> None:
    """Encode all samples of `split` and write them to `folder` under `name` ("train", "val").

    Streams: memory holds one batch. Files get their names only when all are complete; with `resume` a call that was
    ended goes on from the rows that are safe, as `<name>.rows.part` says, or has nothing to do. Raises UserError
    when the disk is full or the folder can't be written, and when the tokenizer gives latents that differ from its
    spec, are not finite, or hold codes outside the codebook.
    """
    if isinstance(tokenizer, nn.Module):
        tokenizer.eval()
    total = len(split)
    if total == 0:
        raise UserError(f"{name}: no samples to encode")
    progress = progress or (lambda done, total, message: None)
    files = _PartialFiles(folder, name, total, resume=resume)
    if files.finished:
        return
    try:
        for indices in slices(split, total, batch_size, start=files.done):
            latents = tokenizer.encode(split.batch(indices, device))
            arrays = _arrays(latents, tokenizer.spec, len(indices))
            if split.labels is not None:
                arrays[".labels.npy"] = np.asarray(split.labels[indices], dtype=np.int64)
            files.append(arrays)
            progress(files.done, total, f"encoding {name}")
        files.finish()
    except BaseException:
        if not resume:
            files.remove()
        raise
    finally:
        files.close()


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


class _PartialFiles:
    """`.npy` files of `total` rows each, written in order under temporary names.

    Written, not memory-mapped: a full disk raises an error here, where a mapped page would kill the process.
    """

    def __init__(self, folder: Path, name: str, total: int, *, resume: bool) -> None:
        self.done, self.finished = 0, False
        self._folder, self._name, self._total, self._resumes = folder, name, total, resume
        self._files: dict[str, FileIO] = {}
        self._digests: dict[str, Any] = {}  # of what was written so far, by ending
        self._rows: dict[str, int] = {}  # bytes of a row, by ending
        self._types: dict[str, np.dtype] = {}
        self._saved = time.monotonic()
        self._state = folder / f"{name}.rows{PART}"
        if resume:
            with suppress(OSError, ValueError, KeyError, TypeError):
                self._resume()

    def append(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The next rows, by the ending of the file's name. Raises UserError."""
        ending = ""
        try:
            if not self.done and not self._files:
                for ending, array in arrays.items():
                    self._create(ending, array)
            elif arrays.keys() != self._files.keys():
                raise UserError(
                    f"{self._name}: from sample {self.done} on the tokenizer gives other parts than before it"
                )
            for ending, array in arrays.items():
                rows = np.ascontiguousarray(array, dtype=self._types[ending])
                self._write(ending, rows.data.cast("B"))
        except OSError as error:
            place = self._folder / f"{self._name}{ending}"
            raise UserError(f"cannot write {place}: {error.strerror or error}") from error
        self.done += len(next(iter(arrays.values())))
        if time.monotonic() - self._saved >= SECONDS:
            self.save()

    def save(self, *, finished: bool = False) -> None:
        """Note how many rows are safe on disk."""
        for file in self._files.values():
            os.fsync(file.fileno())
        facts: dict[str, Any] = {"done": self.done, "total": self._total, "rows": self._rows, "finished": finished}
        facts["types"] = {ending: dtype.str for ending, dtype in self._types.items()}
        facts["sha256"] = {ending: digest.hexdigest() for ending, digest in self._digests.items()}
        atomic_write(self._state, json.dumps(facts).encode())
        self._saved = time.monotonic()

    def finish(self) -> None:
        """Give the files their names. Raises UserError."""
        try:
            for ending, file in self._files.items():
                os.fsync(file.fileno())
                os.replace(self._path(ending), self._folder / f"{self._name}{ending}")
        except OSError as error:
            raise UserError(f"cannot write {self._folder}: {error.strerror or error}") from error
        self.save(finished=True)
        if not self._resumes:
            self._state.unlink()

    def remove(self) -> None:
        """Remove what has no name yet."""
        for path in (self._state, *map(self._path, self._files)):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def _path(self, ending: str) -> Path:
        return self._folder / f"{self._name}{ending}{PART}"

    def _create(self, ending: str, like: np.ndarray) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._files[ending], self._digests[ending] = FileIO(self._path(ending), "w"), hashlib.sha256()
        header = BytesIO()
        description = {"descr": np.lib.format.dtype_to_descr(like.dtype), "fortran_order": False}
        np.lib.format.write_array_header_1_0(header, {**description, "shape": (self._total, *like.shape[1:])})
        self._write(ending, header.getvalue())
        self._rows[ending], self._types[ending] = like[:1].nbytes, like.dtype

    def _write(self, ending: str, content: bytes | memoryview) -> None:
        self._digests[ending].update(content)
        _write(self._files[ending], content)

    def _resume(self) -> None:
        """Open the files behind the rows that are safe. Raises where there are none, not of this set, or damaged."""
        facts = json.loads(self._state.read_bytes())
        if facts["total"] != self._total or not 0 < facts["done"] <= self._total:
            return
        if facts["finished"]:
            paths = {ending: self._folder / f"{self._name}{ending}" for ending in facts["rows"]}
            self.finished = all(file_digest(path) == facts["sha256"][ending] for ending, path in paths.items())
            return
        files, digests = {}, {}
        try:
            for ending, row in facts["rows"].items():
                file = files[ending] = FileIO(self._path(ending), "r+")
                np.lib.format.read_magic(file)
                np.lib.format.read_array_header_1_0(file)
                end = file.tell() + facts["done"] * row
                if file.seek(0, os.SEEK_END) < end:
                    raise ValueError("rows are missing")
                file.truncate(end)
                file.seek(0)
                digests[ending] = hashlib.sha256()
                while content := file.read(_CHUNK_BYTES):
                    digests[ending].update(content)
                if digests[ending].hexdigest() != facts["sha256"][ending]:
                    raise ValueError("rows are damaged")
        except (OSError, ValueError, KeyError):
            for file in files.values():
                file.close()
            raise
        self._files, self._digests = files, digests
        self._rows, self.done = facts["rows"], facts["done"]
        self._types = {ending: np.dtype(text) for ending, text in facts["types"].items()}


def _write(file: FileIO, content: bytes | memoryview) -> None:
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]


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
