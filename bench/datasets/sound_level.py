"""The level of a sound: whether there is any, and bringing it to a loudness (ITU-R BS.1770-4)."""

from __future__ import annotations

import math

import numpy as np

_FULL = 32768.0
_SILENT = 10 ** (-60 / 20)
_SHORTEST = 0.4  # seconds: a block of BS.1770


def is_silent(segment: np.ndarray) -> bool:
    """Whether nothing in int16 `[1, C, N]` is above -60 dB of full scale."""
    return bool(np.abs(segment.astype(np.int32)).max() <= _SILENT * _FULL)


def levelled(segment: np.ndarray, rate: int, target: float) -> np.ndarray:
    """int16 `[1, C, N]` at an integrated loudness of `target` LUFS, or as near to it as full scale lets it come.

    A sound of less than 0.4 s, a block of the measure, is measured repeated. One whose loudness is below -70 LUFS,
    which counts as silence, stays as it is.
    """
    import torch

    from ...tasks.metrics.loudness import integrated_loudness

    wave = torch.from_numpy(segment.astype(np.float64) / _FULL)
    times = math.ceil(_SHORTEST * rate / wave.shape[-1])
    loudness = float(integrated_loudness(wave.repeat(1, 1, times), rate))
    if not math.isfinite(loudness):
        return segment
    peak = float(wave.abs().max())
    gain = min(10 ** ((target - loudness) / 20), (1 - 1 / _FULL) / peak)
    return (wave * gain * _FULL).round().to(torch.int16).numpy()
