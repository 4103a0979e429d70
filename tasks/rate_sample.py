"""What a pass over a split keeps of some samples, so that their rate is measured without encoding them again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..tokenizers.interface import Latents
from .metrics.balls import evenly

SAMPLES = 256


class RateSample:
    """Samples of a pass, evenly spread over its `total`, whose continuous latents are to be rounded: what the pass has
    encoded and decoded of them is not encoded and decoded again."""

    def __init__(self, total: int, most: int = SAMPLES) -> None:
        self.total, self.indices = total, evenly(total, most).numpy()
        self._signals: list[tuple[np.ndarray, Tensor]] = []

    def see(self, indices: np.ndarray, target: Tensor, latents: Latents, decoded: Tensor) -> dict[str, Tensor]:
        """Rows by name, of those of a batch that are among the samples: their latents, and the squared error of what
        was `decoded` of them. Keeps their signals."""
        mine = np.flatnonzero(np.isin(indices, self.indices))
        at = torch.from_numpy(mine).to(target.device)
        signals = target[at]
        self._signals.append((indices[mine], signals))
        error = (decoded[at] - signals).double().square().flatten(1).sum(1)
        return {"error": error, **{name: tensor[at] for name, tensor in _parts(latents).items()}}

    def batches(
        self, rows: Mapping[str, Tensor], read: Callable[[np.ndarray], Tensor], size: int
    ) -> list[tuple[Tensor, Latents]]:
        """The signals and latents of the samples, `size` at a time, from all `rows` that `see` gave.

        `read(indices)` gives the signals that another process has seen, before this one went on from it.
        """
        seen = {
            index: one for indices, some in self._signals for index, one in zip(indices.tolist(), some, strict=True)
        }
        missing = np.setdiff1d(self.indices, np.array(list(seen), np.int64))
        for start in range(0, len(missing), size):
            part = missing[start : start + size]
            seen |= dict(zip(part.tolist(), read(part), strict=True))
        batches = []
        for start in range(0, len(self.indices), size):
            signals = torch.stack([seen[index] for index in self.indices[start : start + size].tolist()])
            parts = {name: tensor[start : start + size].to(signals.device) for name, tensor in rows.items()}
            batches.append((signals, _latents({name: part for name, part in parts.items() if name != "error"})))
        return batches

    def squared_error(self, rows: Mapping[str, Tensor]) -> float:
        """Of what was decoded of the samples: the sum over samples."""
        return float(rows["error"].sum())


def _parts(latents: Latents) -> dict[str, Tensor]:
    """All tensors of latents, by place."""
    parts = {}
    for number, level in enumerate(latents.levels):
        for name in ("values", "codes", "scale", "lengths", "key"):
            tensor = getattr(level, name)
            if tensor is not None:
                parts[f"{number}.{name}"] = tensor
    return parts


def _latents(parts: Mapping[str, Tensor]) -> Latents:
    """The inverse of `_parts`."""
    levels: dict[int, dict[str, Any]] = {}
    for place, tensor in parts.items():
        number, _, name = place.partition(".")
        levels.setdefault(int(number), {})[name] = tensor
    first, *rest = (Latents(**levels[number]) for number in sorted(levels))
    return replace(first, rest=tuple(rest))
