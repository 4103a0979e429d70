"""Values by sample that a job kept, so that two cells can be compared sample by sample, or group by group.

One safetensors file per job: an array `[N]` of float32 per metric, by its name, in the order of the data set's
validation split, so that the data's job and the place in the array say which sample it is. Distances between sets have
no values by sample: their record holds what leaving out groups of samples gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from .quantiles import Array

VALUES = "values.safetensors"
LEFT_OUT = "left_out"  # of a record's `extra`: by metric, a distance without each group of samples in turn


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The values `[N]` of the first N samples of `data` (the job that made the data), NaN where undefined."""

    data: str
    values: Array


def read_samples(path: Path, metric: str, data: str) -> Samples | None:
    """The metric's values in a file; None where the file is gone or damaged, or lacks the metric.

    They refine what the record says: a folder whose files were not copied along is read as if they had not been kept.
    """
    values = _read(path).get(metric)
    return None if values is None else Samples(data=data, values=values)


@lru_cache(maxsize=4096)
def _read(path: Path) -> dict[str, Array]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return {name: np.asarray(values, dtype=np.float64) for name, values in load_file(path).items()}
    except (OSError, SafetensorError):
        return {}


def aligned(several: Sequence[Samples]) -> bool:
    """True where all are of the same samples."""
    return bool(several) and len({(samples.data, len(samples.values)) for samples in several}) == 1


def pseudovalues(value: float, left_out: Sequence[float], data: str) -> Samples:
    """A distance by group of samples: G θ - (G - 1) θ_(g), with θ_(g) the distance without group g (Tukey 1958).

    The variance of the mean of these is the jackknife's, and that of the mean of their differences between two cells
    the jackknife's of the difference: distances are compared group by group as means are sample by sample. `data` says
    which samples they are.
    """
    groups = len(left_out)
    values = groups * value - (groups - 1) * np.asarray(left_out, dtype=np.float64)
    return Samples(data=f"{data}, by group", values=values)
