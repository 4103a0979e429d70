"""Which samples a step of training reads: a function of the seed and the step alone, so that none is stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ..tasks.interface import AHEAD, BatchSource, batches
from ..tokenizers import ranks
from ..tokenizers.seeding import derive_seed


class StepBatches:
    """The batches of `size` samples of a training with this seed; of several ranks each reads its part of them."""

    def __init__(self, source: BatchSource, size: int, *, seed: int, device: torch.device) -> None:
        self.source, self.size, self.seed, self.device = source, size, seed, device
        self._orders: dict[int, np.ndarray] = {}
        self._augment_seed = derive_seed(seed, "augment") >> 1  # leaves room for the positions that are added

    def at(self, step: int, steps: int) -> Any:
        """The batch of a step of `steps`; a source that decodes files begins with those of the steps after it."""
        expect = getattr(self.source, "expect", None)
        if expect is not None:
            for coming in range(step, min(step + 1 + AHEAD, steps)):
                expect(self._indices(coming), self._draws(coming))
        draws = self._draws(step)
        if draws is None:
            return self.source.batch(self._indices(step), self.device)
        augmented: Any = self.source
        return augmented.batch(self._indices(step), self.device, draws)

    def first(self, count: int) -> Any:
        """The first `count` samples of step 0, not augmented."""
        return self.source.batch(self._indices(0)[:count], self.device)

    def _positions(self, step: int) -> tuple[int, int]:
        """First and last (not included) of the rank's samples in the endless concatenation of shuffled epochs."""
        own = self.size // ranks.count()
        start = step * self.size + ranks.number() * own
        return start, start + own

    def _draws(self, step: int) -> np.ndarray | None:
        """A number for each sample of the step, of which its augmentation is a function; None without one."""
        if not getattr(self.source, "augments", False):
            return None
        return self._augment_seed + np.arange(*self._positions(step), dtype=np.int64)

    def _indices(self, step: int) -> np.ndarray:
        n, (position, end) = len(self.source), self._positions(step)
        picked = []
        while position < end:
            epoch, offset = divmod(position, n)
            take = min(n - offset, end - position)
            picked.append(self._order(epoch)[offset : offset + take])
            position += take
        return np.concatenate(picked)

    def _order(self, epoch: int) -> np.ndarray:
        """The order of the samples in an epoch; two are remembered, since batches are asked for ahead."""
        if epoch not in self._orders:
            order = np.random.default_rng(derive_seed(self.seed, "order", epoch)).permutation(len(self.source))
            self._orders = {**dict(list(self._orders.items())[-1:]), epoch: order}
        return self._orders[epoch]


class Passes:
    """All batches of a source, shuffled in the same way each time; can be iterated several times.

    What starts on the first of them would else see few classes of a set that lies class by class. The order is no
    seed's: a closed form has no seed.
    """

    def __init__(self, source: BatchSource, size: int, device: torch.device) -> None:
        self.source, self.size, self.device = source, size, device

    def __iter__(self) -> Iterator[Any]:
        order = np.random.default_rng(derive_seed(0, "passes")).permutation(len(self.source))
        yield from batches(self.source, self.size, self.device, order=order)
