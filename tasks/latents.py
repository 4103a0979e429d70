"""A tokenizer's latents on disk: written once, read memory-mapped by every prior and proxy.

One folder holds, per split and grid of a hierarchy (level 0 without a number), plain `.npy` files:

    train.values.npy    float32 [N, C, *grid]   what the decoder reads; a posterior's mode
    train.scale.npy     float32 [N, C, *grid]   a posterior's standard deviation, where there is one
    train.codes.npy     uint8, uint16 or int32 [N, H, *grid], for discrete tokenizers
    train.1.values.npy  the next grid of a hierarchy, coarse to fine
    train.labels.npy    int64 [N], where the data set has labels
    statistics.json     per-channel mean and standard deviation of the training split, per level

Shape legend: N samples, B batch, C channels, H heads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO, FileIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..results.errors import UserError
from ..results.store import atomic_file, atomic_write
from ..tokenizers.interface import Latents, Tokenizer
from ..tokenizers.spec import LatentGrid, LatentSpec
from .interface import Indices, Split
from .memory_mapped import MemoryMapped
from .priors.noise import normal

_STATISTICS = "statistics.json"
_PARTS = ("values", "scale", "codes")
_VAL_NOISE_SEED = 0x7A1  # any number that seeds nothing else
_CHUNK_BYTES = 64 << 20  # what the statistics read at a time


@dataclass(frozen=True, kw_only=True)
class LatentBatch:
    """What priors train on: `latents` with values normalised per channel and codes int64, `labels` int64 `[B]` or
    None, and `indices` int64 `[B]` (on the CPU): which samples of the split these are."""

    latents: Latents
    labels: Tensor | None = None
    indices: Tensor | None = None

    def __len__(self) -> int:
        return len(self.latents)


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
        for start in range(0, total, batch_size):
            indices = np.arange(start, min(start + batch_size, total))
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


def write_statistics(folder: Path) -> None:
    """Per-channel mean and standard deviation of the training split in `folder`, as `statistics.json`.

    Float64, streamed; the variance of a posterior counts: Var = Var(mode) + E(scale^2). Raises UserError when the
    training latents are missing or the file can't be written.
    """
    levels: list[dict[str, list[float]] | None] = []
    while True:
        arrays = _open_level(folder, "train", len(levels))
        if not arrays:
            break
        levels.append(_moments(arrays["values"], arrays.get("scale")) if "values" in arrays else None)
    if not levels:
        raise UserError(f"{folder}: no training latents; write them before their statistics")
    content = json.dumps({"split": "train", "levels": levels})
    atomic_write(folder / _STATISTICS, content.encode())


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


def _open_level(folder: Path, name: str, level: int) -> dict[str, np.ndarray]:
    """The memory-mapped arrays of one grid of a split, by part; empty when there are none."""
    prefix = f"{name}.{level}" if level else name
    arrays: dict[str, np.ndarray] = {}
    for part in (*_PARTS, "lengths"):
        path = folder / f"{prefix}.{part}.npy"
        if path.exists():
            try:
                arrays[part] = np.load(path, mmap_mode="r", allow_pickle=False)
            except (ValueError, OSError) as error:
                raise UserError(f"{path}: not a latent file ({error}); delete it and run again") from None
    return arrays


@dataclass(eq=False, kw_only=True)
class LatentSplit:
    """One split of a latent store: what the training loop draws from (a `BatchSource`).

    `levels` are the raw memory-mapped arrays per grid ("values", "scale", "codes"); `values`, `scale`, `codes` those
    of the first grid. With a posterior, `batch` gives samples mode + scale * noise; `mode` True gives the mode itself.
    The noise is drawn from torch's global generator, or, when `seed` is set (as it is for the validation split), is
    fixed per sample index.
    """

    levels: tuple[dict[str, np.ndarray], ...]
    labels: np.ndarray | None
    moments: tuple[tuple[Tensor, Tensor] | None, ...]
    mode: bool = False
    seed: int | None = None
    _mapped: tuple[dict[str, MemoryMapped], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._mapped = tuple({k: MemoryMapped(array) for k, array in level.items()} for level in self.levels)

    @property
    def values(self) -> np.ndarray | None:
        """Raw values `[N, C, *grid]` of the first grid, memory-mapped."""
        return self.levels[0].get("values")

    @property
    def scale(self) -> np.ndarray | None:
        """Raw posterior deviations `[N, C, *grid]` of the first grid."""
        return self.levels[0].get("scale")

    @property
    def codes(self) -> np.ndarray | None:
        """Codes `[N, H, *grid]` of the first grid."""
        return self.levels[0].get("codes")

    def __len__(self) -> int:
        return len(next(iter(self.levels[0].values())))

    def batch(self, indices: Indices, device: torch.device) -> LatentBatch:
        """The samples at `indices` (int64 `[B]`): values normalised per channel, codes int64."""
        indices = np.asarray(indices, dtype=np.int64)
        levels = [self._level(number, indices, device) for number in range(len(self.levels))]
        labels = None if self.labels is None else torch.from_numpy(self.labels[indices]).to(device)
        latents = replace(levels[0], rest=tuple(levels[1:]))
        return LatentBatch(latents=latents, labels=labels, indices=torch.from_numpy(indices))

    def _level(self, number: int, indices: np.ndarray, device: torch.device) -> Latents:
        stored = self._mapped[number].items()
        parts = {k: array.batch(indices, device) for k, array in stored if not (k == "scale" and self.mode)}
        values = parts.get("values")
        moments = self.moments[number]
        if values is not None and moments is not None:
            scale = parts.get("scale")
            if scale is not None and not self.mode:
                values = torch.addcmul(values, scale, self._noise(values, indices, number))
            values = _normalised(values, moments)
        codes = parts.get("codes")
        lengths = parts.get("lengths")
        return Latents(values=values, codes=None if codes is None else codes.long(), lengths=lengths)

    def _noise(self, like: Tensor, indices: np.ndarray, level: int) -> Tensor:
        if self.seed is None:
            return torch.randn_like(like)
        return normal(self.seed, indices.tolist(), tuple(like.shape[1:]), stream=level).to(like.device)


def _shaped(moments: tuple[Tensor, Tensor], like: Tensor) -> tuple[Tensor, Tensor]:
    shape = (1, -1, *([1] * (like.dim() - 2)))
    mean, std = (m.to(like.device, like.dtype).view(shape) for m in moments)
    return mean, std


def _normalised(values: Tensor, moments: tuple[Tensor, Tensor]) -> Tensor:
    mean, std = _shaped(moments, values)
    return (values - mean) / std


def _denormalised(values: Tensor, moments: tuple[Tensor, Tensor]) -> Tensor:
    mean, std = _shaped(moments, values)
    return values * std + mean


@dataclass(frozen=True, eq=False, kw_only=True)
class LatentStore:
    """The latents of a data set under one tokenizer: `train` and `val`, and the training split's channel statistics.

    `mean` and `std` are float32 `[C]` of the first grid, None where a tokenizer gives codes alone. `moments` has the
    pair per grid. A constant channel has std 1, so that normalising stays defined and invertible.
    """

    spec: LatentSpec
    train: LatentSplit
    val: LatentSplit
    moments: tuple[tuple[Tensor, Tensor] | None, ...]

    @classmethod
    def open(cls, folder: Path, spec: LatentSpec) -> LatentStore:
        """Open what `write_latents` (as "train" and "val") and `write_statistics` wrote.

        Raises UserError when something is missing, cut short, or shaped otherwise than `spec` says.
        """
        try:
            levels = json.loads((folder / _STATISTICS).read_text(encoding="utf-8"))["levels"]
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{folder / _STATISTICS}: no latent statistics ({error}); encode again") from None
        moments = tuple(None if level is None else _pair(level) for level in levels)
        splits = {name: _open_split(folder, name, spec, moments) for name in ("train", "val")}
        splits["val"].seed = _VAL_NOISE_SEED
        return cls(spec=spec, moments=moments, **splits)

    @property
    def mean(self) -> Tensor | None:
        """Mean `[C]` of the first grid's channels over the training split."""
        return None if self.moments[0] is None else self.moments[0][0]

    @property
    def std(self) -> Tensor | None:
        """Standard deviation `[C]` of the first grid's channels over the training split."""
        return None if self.moments[0] is None else self.moments[0][1]

    def denormalise(self, latents: Latents) -> Latents:
        """A prior's latents, of zero mean and unit variance per channel, as the decoder reads them. Codes pass."""
        levels = [
            level
            if level.values is None or moments is None
            else replace(level, values=_denormalised(level.values, moments))
            for level, moments in zip(latents.levels, self.moments, strict=True)
        ]
        return replace(levels[0], rest=tuple(levels[1:]))


def _pair(level: dict[str, list[float]]) -> tuple[Tensor, Tensor]:
    mean, std = (np.asarray(level[k], dtype=np.float64) for k in ("mean", "std"))
    # a constant channel: what is left of it is rounding, not signal
    std = np.where(std > 1e-6 * np.maximum(1e-6, np.abs(mean)), std, 1.0)
    return torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(std.astype(np.float32))


def _open_split(
    folder: Path, name: str, spec: LatentSpec, moments: tuple[tuple[Tensor, Tensor] | None, ...]
) -> LatentSplit:
    levels = tuple(_open_level(folder, name, number) for number in range(len(spec.grids)))
    for number, (arrays, grid) in enumerate(zip(levels, spec.grids, strict=True)):
        needed = "codes" if grid.heads else "values"
        if needed not in arrays:
            raise UserError(f"{folder}: the {name} split has no {needed} for level {number}; encode again")
        for part, array in arrays.items():
            rows = (grid.heads if part == "codes" else grid.channels,)
            expected = () if part == "lengths" else (*rows, *grid.shape)
            if array.shape[1:] != expected:
                raise UserError(f"{folder}: {name} {part} have shape {array.shape[1:]}, the tokenizer's is {expected}")
    if len(moments) != len(spec.grids):
        raise UserError(f"{folder}: statistics of {len(moments)} levels for a tokenizer of {len(spec.grids)}")
    path = folder / f"{name}.labels.npy"
    labels = np.load(path, allow_pickle=False) if path.exists() else None
    return LatentSplit(levels=levels, labels=labels, moments=moments)
