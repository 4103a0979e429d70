"""Files decoded in processes of their own, ahead of the step that uses them.

Which samples a batch has is known long before it is used, since their order depends on a seed and the epoch alone. The
processes end with the one that started them, however it ends.
"""

from __future__ import annotations

import os
import warnings
import weakref
from collections import OrderedDict
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...results.errors import UserError
from ...results.garbage import keep_what_forks_inherit
from ..signals import die_with_parent, ignore_interrupts
from .augment import augmented
from .config import DataConfig
from .file_source import FileSource
from .file_table import RankedFiles
from .source import Changed, Skip

# Batches that are held decoded; a batch that was expected and not taken gives way to later ones.
_MOST_BATCHES = 8
# So many files in a row that can't be used are no accident.
_MOST_UNUSABLE = 1000
_MOST_PROCESSES = 8

Decoded = tuple[np.ndarray, list[tuple[str, str]]]


class Decoders:
    """Decodes the files of the table `index`, which lie under `root`.

    Files are named by rows `[B, 3]` of (rank, first, count): where the file of that rank can't be used, the next of
    the `count` ranks from `first` on takes its place.
    """

    def __init__(self, config: DataConfig, source: FileSource, root: Path, index: Path) -> None:
        self._config, self._source, self._root, self._index = config, source, root, index
        self._pool: ProcessPoolExecutor | None = None
        self._expected: OrderedDict[bytes, list[Future[Decoded]]] = OrderedDict()
        self._named: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pool": None, "_expected": OrderedDict()}

    def submit(self, ranks: np.ndarray, draws: np.ndarray | None) -> None:
        """Have a batch decoded; asked for twice, it is decoded once. `draws` as for `take`."""
        key = _key(ranks, draws)
        if key in self._expected:
            return
        while len(self._expected) >= _MOST_BATCHES:
            for future in self._expected.popitem(last=False)[1]:
                future.cancel()
        pool, processes = self._started()
        size = max(1, -(-len(ranks) // processes))
        parts = [slice(start, start + size) for start in range(0, len(ranks), size)]
        with warnings.catch_warnings():
            # The processes begin with one thread and touch no device.
            warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
            self._expected[key] = [
                pool.submit(_decode, ranks[part], None if draws is None else draws[part]) for part in parts
            ]

    def take(self, ranks: np.ndarray, draws: np.ndarray | None) -> np.ndarray:
        """The samples `[B, C, *shape]` as integers; with `draws` (int64 `[B]`) cut as the augmentation says.

        Raises UserError for a file that has changed since it was listed.
        """
        self.submit(ranks, draws)
        futures = self._expected.pop(_key(ranks, draws))
        try:
            parts = [future.result() for future in futures]
        except Changed as change:
            raise UserError(f"data: {self._config.label}: {change} since the run was planned; run it again") from None
        except BrokenProcessPool:
            raise RuntimeError("a process that decodes was ended by the system; is there enough memory?") from None
        for name, reason in (item for _, unusable in parts for item in unusable):
            if name not in self._named:
                self._named.add(name)
                print(f"{self._config.label}: {name}: {reason}; the next file takes its place", flush=True)
        return np.concatenate([samples for samples, _ in parts])

    def _started(self) -> tuple[ProcessPoolExecutor, int]:
        processes = min(_MOST_PROCESSES, max(1, torch.get_num_threads()))
        if self._pool is None:
            keep_what_forks_inherit()
            arguments = (os.getpid(), self._config, self._source, self._root, self._index)
            self._pool = ProcessPoolExecutor(processes, get_context("fork"), _start, arguments)
            weakref.finalize(self, partial(self._pool.shutdown, wait=False, cancel_futures=True))
        return self._pool, processes


def _key(ranks: np.ndarray, draws: np.ndarray | None) -> bytes:
    return ranks.tobytes() + (b"" if draws is None else b"|" + draws.tobytes())


_worker: tuple[DataConfig, Path, FileSource, RankedFiles]


def _start(parent: int, config: DataConfig, source: FileSource, root: Path, index: Path) -> None:
    global _worker
    die_with_parent(parent)
    ignore_interrupts()  # whoever started this decides what an interrupt means
    torch.set_num_threads(1)
    _worker = (config, root, source, RankedFiles(index))


def _decode(ranks: np.ndarray, draws: np.ndarray | None) -> Decoded:
    samples, unusable = [], []
    for row, (rank, first, count) in enumerate(ranks.tolist()):
        draw = None if draws is None else int(draws[row])
        for step in range(min(count, _MOST_UNUSABLE)):
            name, sample = _sample(first + (rank - first + step) % count, draw)
            if isinstance(sample, np.ndarray):
                samples.append(sample)
                break
            unusable.append((name, sample))
        else:
            raise UserError(
                f"data: {_worker[0].label}: {len(unusable)} files in a row can't be used (the last: {unusable[-1][0]}: "
                f"{unusable[-1][1]})"
            )
    return np.stack(samples), unusable


def _sample(rank: int, draw: int | None) -> tuple[str, np.ndarray | str]:
    """The name of the file of that rank and its sample `[C, *shape]`, or why it has none."""
    config, root, source, files = _worker
    file = files[rank]
    if draw is not None:
        config = augmented(config)
    try:
        for block in source.blocks(config, root, file, draw=draw):
            return file.name, block[0]
    except Skip as reason:
        return file.name, str(reason)
    return file.name, "no sample in it"
