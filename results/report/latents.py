"""What latents look like: their first principal components as colours, and how their variance is spread.

Shape legend: N samples, C channels, P positions of all samples together.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..gallery import png
from ..rows import Row
from ..store import Store
from .artifacts import record_of

_SAMPLES = 64  # of the validation split, for spectra
_MAPS = 8
_POSITIONS = 1 << 15
_CODES = 512  # of the most used codes whose shares are shown

Array = NDArray[np.float64]
Save = Callable[[str, bytes], str]


def latents(row: Row, save: Save) -> dict[str, Any]:
    """The row's latents: `maps` (a sheet, a row per sample), the `spectrum` over spatial frequencies, the `variances`
    of the principal components, and the `codes`' shares; {} where they were not kept."""
    store = Store(row["source"])
    record = record_of(store, row.jobs.get("latents"))
    if record is None:
        return {}
    folder = store.job_folder(record.kind, record.key)
    result: dict[str, Any] = {}
    values = _open(folder / "val.values.npy")
    if values is not None and values.ndim > 2 and len(values):
        part = np.asarray(values[:_SAMPLES], dtype=np.float64)
        variances, components = principal_components(part)
        result["variances"] = [round(float(v), 6) for v in variances[:64]]
        result["maps"] = _maps(part[:_MAPS], components, save)
        if part.shape[-1] > 2:
            result["spectrum"] = [round(float(p), 6) for p in spectrum(part)]
    codes = _open(folder / "val.codes.npy")
    if codes is not None and codes.size:
        result["codes"] = _shares(np.asarray(codes[: 16 * _SAMPLES]))
    return result


def _open(path: Path) -> np.ndarray | None:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return None  # a refinement: a folder whose latents were not copied along has none


def principal_components(values: Array) -> tuple[Array, Array]:
    """Of latents `[N, C, *grid]`: the variances of the principal components of their channels, as shares of all and the
    largest first, `[C]`, and the components `[C, C]`, a column each."""
    positions = np.moveaxis(values, 1, -1).reshape(-1, values.shape[1])
    positions = positions[:: max(1, len(positions) // _POSITIONS)]
    centred = positions - positions.mean(axis=0)
    variances, components = np.linalg.eigh(centred.T @ centred / max(1, len(centred) - 1))
    variances = np.maximum(variances[::-1], 0)
    return variances / (variances.sum() or 1.0), components[:, ::-1]


def spectrum(values: Array) -> Array:
    """The mean power of latents `[N, C, *grid]` by distance from frequency 0 in cycles per position (radii of equal
    width up to 1/2, the mean itself left out), as shares of all."""
    axes = tuple(range(2, values.ndim))
    centred = values - values.mean(axis=axes, keepdims=True)
    power = (np.abs(np.fft.fftn(centred, axes=axes)) ** 2).mean(axis=(0, 1))
    frequencies = np.meshgrid(*(np.fft.fftfreq(size) for size in values.shape[2:]), indexing="ij")
    radius = np.sqrt(sum(f**2 for f in frequencies))
    bins = max(2, max(values.shape[2:]) // 2)
    place = np.minimum((radius * 2 * bins - 1e-9).astype(int), bins - 1)
    place[radius == 0] = -1
    sums = np.array([power[place == i].sum() for i in range(bins)])
    return sums / (sums.sum() or 1.0)


def _maps(values: Array, components: Array, save: Save) -> dict[str, Any]:
    """The first three components of each sample as red, green and blue; a clip's frames side by side, a sequence as a
    line."""
    count = min(3, values.shape[1])
    centred = values - values.mean(axis=tuple(i for i in range(values.ndim) if i != 1), keepdims=True)
    drawn = np.moveaxis(np.tensordot(centred, components[:, :count], axes=(1, 0)), -1, 1)
    low, high = (np.percentile(drawn, q, axis=(0, *range(2, drawn.ndim)), keepdims=True) for q in (2, 98))
    drawn = np.clip((drawn - low) / np.where(high > low, high - low, 1), 0, 1)
    if count < 3:
        drawn = np.repeat(drawn[:, :1], 3, axis=1) if count == 1 else np.concatenate([drawn, 0.5 + 0 * drawn[:, :1]], 1)
    if drawn.ndim == 3:
        drawn = drawn[:, :, None]
    clips = drawn[:, :, None] if drawn.ndim == 4 else drawn
    samples, _, frames, height, width = clips.shape
    picture = np.rint(clips.transpose(0, 3, 2, 4, 1) * 255).astype(np.uint8)
    picture = picture.reshape(samples * height, frames * width, 3)
    source = save("png", png(np.ascontiguousarray(picture)))
    return {"sheet": source, "count": samples, "frames": frames, "height": height, "width": width}


def _shares(codes: np.ndarray) -> dict[str, Any]:
    """How often codes `[N, H, *grid]` occur, the most used first, over all heads together."""
    counts = np.sort(np.unique(codes, return_counts=True)[1])[::-1]
    shares = counts / counts.sum()
    return {"distinct": len(counts), "shares": [round(float(share), 6) for share in shares[:_CODES]]}
