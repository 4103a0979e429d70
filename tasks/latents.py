"""A tokenizer's latents on disk, read memory-mapped by every prior and proxy; `encoding` writes them.

One folder holds, per split and grid of a hierarchy (level 0 without a number), plain `.npy` files:

    train.values.npy    float32 [N, C, *grid]   what the decoder reads; a posterior's mode (or float16)
    train.scale.npy     float32 [N, C, *grid]   a posterior's standard deviation, where there is one (or float16)
    train.codes.npy     uint8, uint16 or int32 [N, H, *grid], for discrete tokenizers
    train.1.values.npy  the next grid of a hierarchy, coarse to fine
    train.labels.npy    int64 [N], where the data set has labels
    statistics.json     per-channel mean and standard deviation of the training split, per level

Shape legend: N samples, B batch, C channels, H heads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..results.errors import UserError
from ..tokenizers.interface import Latents
from ..tokenizers.spec import LatentSpec
from .interface import Indices
from .memory_mapped import MemoryMapped, to_device
from .priors.noise import normal

STATISTICS = "statistics.json"
_PARTS = ("values", "scale", "codes")
_VAL_NOISE_SEED = 0x7A1  # any number that seeds nothing else


@dataclass(frozen=True, kw_only=True)
class LatentBatch:
    """What priors train on: `latents` with values normalised per channel and codes int64, `labels` int64 `[B]` or
    None, and `indices` int64 `[B]` (on the CPU): which samples of the split these are."""

    latents: Latents
    labels: Tensor | None = None
    indices: Tensor | None = None

    def __len__(self) -> int:
        return len(self.latents)


def open_level(folder: Path, name: str, level: int) -> dict[str, np.ndarray]:
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
    _moments: dict[torch.device, tuple[tuple[Tensor, Tensor] | None, ...]] = field(
        init=False, repr=False, default_factory=dict
    )

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
        labels = None if self.labels is None else to_device(self.labels[indices], device)
        latents = replace(levels[0], rest=tuple(levels[1:]))
        return LatentBatch(latents=latents, labels=labels, indices=torch.from_numpy(indices))

    def _level(self, number: int, indices: np.ndarray, device: torch.device) -> Latents:
        stored = self._mapped[number].items()
        parts = {k: _whole(array.batch(indices, device)) for k, array in stored if not (k == "scale" and self.mode)}
        values = parts.get("values")
        moments = self._moments_on(device)[number]
        if values is not None and moments is not None:
            scale = parts.get("scale")
            if scale is not None and not self.mode:
                values = torch.addcmul(values, scale, self._noise(values, indices, number))
            values = _normalised(values, moments)
        codes = parts.get("codes")
        lengths = parts.get("lengths")
        return Latents(values=values, codes=None if codes is None else codes.long(), lengths=lengths)

    def _moments_on(self, device: torch.device) -> tuple[tuple[Tensor, Tensor] | None, ...]:
        """The moments on a device, copied there once."""
        if device not in self._moments:
            on_device = [None if pair is None else (pair[0].to(device), pair[1].to(device)) for pair in self.moments]
            self._moments[device] = tuple(on_device)
        return self._moments[device]

    def _noise(self, like: Tensor, indices: np.ndarray, level: int) -> Tensor:
        if self.seed is None:
            return torch.randn_like(like)
        return normal(self.seed, indices.tolist(), tuple(like.shape[1:]), stream=level).to(like.device)


def _whole(stored: Tensor) -> Tensor:
    """What is computed with: float32 of float16, all else as it is."""
    return stored.float() if stored.dtype is torch.float16 else stored


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
            levels = json.loads((folder / STATISTICS).read_text(encoding="utf-8"))["levels"]
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{folder / STATISTICS}: no latent statistics ({error}); encode again") from None
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
    levels = tuple(open_level(folder, name, number) for number in range(len(spec.grids)))
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
