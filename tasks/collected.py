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
    codes, lengths, pairs to be stored), and what is counted along the way. All of it stays on the device until a chunk
    is due."""

    grids: Sequence[LatentGrid]
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

    def decode(self, latents: Latents, target: Tensor) -> Tensor:
        """The batch's latents decoded in full, and scored at each operating point."""
        decoded, rows = self.points.see(latents, target)
        self.rows |= {f"point.{name}": tensor for name, tensor in rows.items()}
        return decoded

    def of_points(self) -> dict[str, Tensor]:
        """All rows of the operating points."""
        return _below("point.", self.rows)

    def of_rate(self) -> dict[str, Tensor]:
        """All rows of the samples whose latents are rounded (`RateSample.see`)."""
        return _below("rate.", self.rows)

    def codes(self) -> list[Tensor]:
        """All codes `[N, H, *grid]` of each grid, where they are not a stream's bytes."""
        return [self.rows[_codes(number)] for number in range(len(self.grids)) if _codes(number) in self.rows]

    def add_rate(self, rows: Mapping[str, Tensor]) -> None:
        """What `RateSample.see` gave of the batch."""
        self.rows |= {f"rate.{name}": tensor for name, tensor in rows.items()}

    def add_latents(self, latents: Latents, indices: np.ndarray) -> None:
        """The batch's latents."""
        if latents.scale is not None and latents.values is not None:
            self.rows["kl_bits"] = kl_bits_by_channel(latents.values, latents.scale)
            self.units.update(latents.values)
        if latents.lengths is not None:
            self.rows["lengths"] = latents.lengths.double()
        for number, (level, grid) in enumerate(zip(latents.levels, self.grids, strict=True)):
            if level.codes is None:
                continue
            if grid.byte_stream:  # too long to be kept, and made on the CPU
                count_codes(level.codes, level.lengths, indices, self.histograms[number])
            else:
                small = max(grid.codebook_sizes) <= 2**31  # half the memory, for all samples stay until the end
                self.rows[_codes(number)] = level.codes.to(torch.int32 if small else torch.int64)

    def count(self) -> None:
        """Fill the histograms of what is no stream of bytes, when all rows are there."""
        for number, of_level in enumerate(self.histograms):
            if _codes(number) in self.rows:
                codes = self.rows[_codes(number)]
                count_codes(codes, self.rows.get("lengths"), np.arange(len(codes)), of_level)

    def add_pairs(self, target: Tensor, decoded: Tensor, *, most: int) -> None:
        """The first `most` pairs of the batch."""
        if most > 0:
            self.rows |= {"pair.true": target[:most], "pair.reconstructed": decoded[:most]}

    def add_to(self, chunks: Chunks, count: int) -> None:
        """The batch is complete."""
        chunks.add(count, self.rows, {}, self._state)
        self.rows = {}

    def go_on(self, chunks: Chunks) -> None:
        """Begin behind what `chunks` have."""
        if not chunks.done:
            return
        self.points.restore(_below("points.", chunks.state))
        self.units.restore(_below("units.", chunks.state))
        for name, histogram in self._streams():
            histogram.restore(_below(name, chunks.state))

    def _state(self) -> dict[str, Tensor]:
        state = {f"units.{name}": tensor for name, tensor in self.units.state().items()}
        state |= {f"points.{name}": tensor for name, tensor in self.points.state().items()}
        for prefix, histogram in self._streams():
            state |= {f"{prefix}{name}": tensor for name, tensor in histogram.state().items()}
        return state

    def _streams(self) -> list[tuple[str, CodeHistogram]]:
        """The histograms that are filled along the way, by the beginning of their names."""
        streams = [number for number, grid in enumerate(self.grids) if grid.byte_stream]
        return [(f"codes.{n}.{group}.", one) for n in streams for group, one in enumerate(self.histograms[n])]

    def save(self, folder: Path, others: Mapping[str, Tensor]) -> None:
        """Write the values by sample, with `others`, and the pairs where there are any."""
        if pairs := _below("pair.", self.rows):
            save_tensors(folder / PAIRS, pairs)
        save_samples(folder, _below("value.", self.rows) | dict(others))


def _codes(grid: int) -> str:
    return f"grid.{grid:03d}"


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def count_codes(
    codes: Tensor, lengths: Tensor | None, indices: np.ndarray, histograms: Sequence[CodeHistogram]
) -> None:
    """Adds codes, each sample's to the group that its index belongs to."""
    for group, histogram in enumerate(histograms):
        rows = torch.from_numpy(np.flatnonzero(indices % len(histograms) == group)).to(codes.device)
        histogram.update(codes[rows], None if lengths is None else lengths[rows])
