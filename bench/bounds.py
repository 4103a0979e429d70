"""Refuses, when a suite is planned, what no machine could do: in one line, before any work. Torch-free."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from ..results.errors import UserError
from .datasets.cache import cache_bound
from .datasets.config import DataConfig, stored_shape
from .grid import Cell
from .suite import Suite

_STATE_BYTES = 20  # of a parameter in training: itself, its gradient, two moments, its average
LARGEST = 1e12  # bytes of memory, more than any one device has


def check_bounds(suite: Suite, cells: Sequence[Cell]) -> tuple[str, ...]:
    """Raises UserError for data that do not fit the cache, and for weights or batches that no machine holds.

    Returns a line for each tokenizer that this machine's memory does not hold: the suite may be run on another, or on
    a GPU that has more.
    """
    for i, data in enumerate(suite.data):
        _check_data(data, f"{suite.where}: data[{i}]")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    names = {id(cell.tokenizer): cell.tokenizer_name for cell in reversed(cells)}
    warnings = []
    for config in {id(cell.tokenizer): cell.tokenizer for cell in cells}.values():
        where = f"{suite.where}: {names[id(config)]}"
        parameters = config.estimate_parameters()
        batch = config.training.batch_size * config.signal.elements * 4
        taken = {
            f"its {parameters:.3g} parameters take": (_STATE_BYTES * parameters, "width, channels or codebook_size"),
            "training.batch_size: a batch takes": (batch, "it"),
        }
        for what, (size, cure) in taken.items():
            if size > max(LARGEST, memory):
                raise UserError(
                    f"{where}: {what} {size / 1e9:.3g} GB in training, more than any machine has; lower {cure}"
                )
            if size > memory:
                warnings.append(f"{where}: {what} {size / 1e9:.3g} GB in training; this machine has {memory / 1e9:.3g}")
    return tuple(dict.fromkeys(warnings))


def _check_data(data: DataConfig, where: str) -> None:
    sample = math.prod(stored_shape(data)) * (2 if data.modality.is_audio else 1)
    counts = {"samples": data.samples, "val": data.val if isinstance(data.val, int) else None}
    for name, count in counts.items():
        # Elsewhere the files decide how many there are, and the number is only an upper limit.
        if data.kind == "procedural" and count is not None and count * sample > cache_bound():
            raise UserError(
                f"{where}: {name}: {count} samples of {sample} bytes need more than "
                f"LATENTBENCH_CACHE_GB={cache_bound() / 1e9:g}; lower data.{name} or data.size, or raise it"
            )
    if sample > cache_bound():
        raise UserError(f"{where}: one sample of {sample} bytes is more than LATENTBENCH_CACHE_GB allows")
