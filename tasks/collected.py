"""What a reconstruction collects of a split, batch by batch, and how it goes on where it was ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..results.gallery import PAIRS
from ..tokenizers.interface import Latents
from ..tokenizers.spec import LatentGrid
from .chunks import Chunks
from .metrics.codes import CodeHistogram
from .metrics.posterior import UnitVariance, kl_bits_by_channel
from .operating_points import OperatingPoints
from .tensors import save_samples, save_tensors


@dataclass
class Collected:
    """What a pass over the split collects: rows of a batch, at the end of all (values per metric, features per net, KL,
    lengths, pairs to be stored), and what is counted along the way."""

    histograms: list[list[CodeHistogram]]
    points: OperatingPoints
    rows: dict[str, Tensor] = field(default_factory=dict)
    units: UnitVariance = field(default_factory=UnitVariance)

    def add(self, name: str, values: Tensor) -> None:
        """The batch's values of a metric."""
        self.rows[f"value.{name}"] = values.double()

    def values(self, name: str) -> Tensor:
        """All values of a metric."""
        return self.rows[f"value.{name}"]

    def codes(self) -> list[Tensor]:
        """All codes `[N, H, *grid]` of each grid, where they are not a stream's bytes."""
        return [self.rows[name] for name in sorted(self.rows) if name.startswith("grid.")]

    def add_latents(self, latents: Latents, indices: np.ndarray, grids: Sequence[LatentGrid]) -> None:
        """The batch's latents."""
        if latents.scale is not None and latents.values is not None:
            self.rows["kl_bits"] = kl_bits_by_channel(latents.values, latents.scale)
            self.units.update(latents.values)
        if latents.lengths is not None:
            self.rows["lengths"] = latents.lengths.double()
        for number, (level, grid) in enumerate(zip(latents.levels, grids, strict=True)):
            if level.codes is not None and not grid.byte_stream:
                small = max(grid.codebook_sizes) <= 2**31  # half the memory, for all samples stay until the end
                self.rows[f"grid.{number:03d}"] = level.codes.to(torch.int32 if small else torch.int64)
        for level, of_level in zip(latents.levels, self.histograms, strict=True):
            _count(level, indices, of_level)

    def add_pairs(self, target: Tensor, decoded: Tensor, *, most: int) -> None:
        """The first `most` pairs of the batch."""
        if most > 0:
            self.rows |= {"pair.true": target[:most], "pair.reconstructed": decoded[:most]}

    def add_to(self, chunks: Chunks, count: int) -> None:
        """The batch is complete."""
        rows = self.rows | {f"point.{name}": tensor for name, tensor in self.points.last().items()}
        chunks.add(count, rows, {}, self._state)
        self.rows = {}

    def go_on(self, chunks: Chunks) -> None:
        """Begin behind what `chunks` have."""
        if not chunks.done:
            return
        self.points.restore(_below("point.", chunks.rows()))
        self.units.restore(_below("units.", chunks.state))
        for grid, of_level in enumerate(self.histograms):
            for group, histogram in enumerate(of_level):
                histogram.restore(_below(f"codes.{grid}.{group}.", chunks.state))

    def _state(self) -> dict[str, Tensor]:
        state = {f"units.{name}": tensor for name, tensor in self.units.state().items()}
        for grid, of_level in enumerate(self.histograms):
            for group, histogram in enumerate(of_level):
                state |= {f"codes.{grid}.{group}.{name}": tensor for name, tensor in histogram.state().items()}
        return state

    def save(self, folder: Path, others: Mapping[str, Tensor]) -> None:
        """Write the values by sample, with `others`, and the pairs where there are any."""
        if pairs := _below("pair.", self.rows):
            save_tensors(folder / PAIRS, pairs)
        save_samples(folder, _below("value.", self.rows) | dict(others))


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _count(latents: Latents, indices: np.ndarray, histograms: Sequence[CodeHistogram]) -> None:
    """Adds a batch's codes, each sample's to the group that its index belongs to."""
    if latents.codes is None:
        return
    for group, histogram in enumerate(histograms):
        mine = np.flatnonzero(indices % len(histograms) == group)
        rows = torch.from_numpy(mine).to(latents.codes.device)
        histogram.update(latents.codes[rows], None if latents.lengths is None else latents.lengths[rows])
