"""Noise that belongs to a sample, not to a batch: the same for a given (seed, index) however samples are sliced.

Numpy's counter-based Philox with the key (seed, index): no two samples share a stream, and none depends on another.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

_MASK = (1 << 64) - 1


def generator(seed: int, index: int, stream: int = 0) -> np.random.Generator:
    """The random stream of sample `index` under `seed`; `stream` separates uses that must not share numbers."""
    return np.random.Generator(np.random.Philox(counter=stream << 192, key=(seed & _MASK) | (index & _MASK) << 64))


def normal(seed: int, indices: Iterable[int], shape: tuple[int, ...], *, stream: int = 0) -> Tensor:
    """Standard normal noise `[len(indices), *shape]`, float32 on the CPU."""
    rows = [generator(seed, int(i), stream).standard_normal(shape, dtype=np.float32) for i in indices]
    return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, *shape)


def uniform(seed: int, indices: Iterable[int], shape: tuple[int, ...], *, stream: int = 0) -> Tensor:
    """Uniform noise in [0, 1) `[len(indices), *shape]`, float32 on the CPU."""
    rows = [generator(seed, int(i), stream).random(shape, dtype=np.float32) for i in indices]
    return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, *shape)
