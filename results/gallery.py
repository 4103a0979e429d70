"""Pictures of what finished runs made: true, reconstructed and sampled signals of each cell, to be looked at.

Read from the jobs' artifacts (`reconstruction.keep`, `generation.keep`) with numpy alone.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .display import printable
from .errors import UserError
from .filters import select
from .output_file import write_output
from .rows import Row, rows
from .store import Store

PAIRS = "pairs.safetensors"
SAMPLES = "samples.safetensors"
INDEX = "index.html"

_TILE = 64  # pixels that a tile's shorter side is magnified to, by a whole number
_GAP = 2
_PAPER = 255
_RANGE_DB = 80.0  # of a sound's spectrogram, from black to white


def gallery(dirs: Sequence[Path | str], *, out: Path | str, where: str | Sequence[str] | None = None) -> list[Path]:
    """Write a PNG per cell of the runs in `dirs`, and `index.html` that shows them all; the files, index last.

    A picture's rows are true signals, their reconstructions (`reconstruction.keep` of them) and samples of the prior
    (`generation.keep`), whichever the cell has. A clip's frames stand side by side, a clip a row; a sound is shown as
    its spectrogram, with low frequencies at the bottom. Raises UserError when no cell has anything to show, when an
    artifact is damaged, and when `out` can't be written.
    """
    table = select(rows(dirs, boards=False), where)
    folder = Path(out)
    shown: list[tuple[str, str, Path]] = []
    for row in table:
        picture = _picture(row)
        if picture is None:
            continue
        path = folder / f"{_file_name(row, [p for _, _, p in shown])}.png"
        write_output(path, png(picture[1]))
        shown.append((f"{row['suite']}: {row['cell']}", picture[0], path))
    if not shown:
        raise UserError("no cell has a picture: none has finished with generation.keep or reconstruction.keep above 0")
    write_output(folder / INDEX, _page(shown).encode())
    return [*(path for _, _, path in shown), folder / INDEX]


def _picture(row: Row) -> tuple[str, np.ndarray] | None:
    """What the rows of the cell's picture are, and the picture `[H, W, 3]` uint8; None where there is nothing."""
    tensors = signals(row)
    parts = [(name, tensors[name]) for name in ("true", "reconstructed", "samples") if name in tensors]
    if not parts:
        return None
    return ", ".join(name for name, _ in parts), sheet([tiles for _, tiles in parts])


def signals(row: Row) -> dict[str, np.ndarray]:
    """The signals that the cell's jobs have stored, as pictures `[N, C, H, W]` or clips `[N, C, T, H, W]` in [-1, 1]:
    "true" and "reconstructed" ones and "samples", whichever there are. Sounds are spectrograms, low frequencies last.

    Raises UserError for a damaged artifact.
    """
    return {**_tensors(row, "reconstruction", PAIRS), **_tensors(row, "generation", SAMPLES)}


def sheet(parts: Sequence[np.ndarray], *, across: int = 16) -> np.ndarray:
    """Signals `[N, C, H, W]` or `[N, C, T, H, W]` in [-1, 1], a part below the other, as one picture `[H, W, 3]` uint8.

    Images stand in rows of as many as the widest part has, up to `across`; each clip is a row of its frames.
    """
    lines = []
    for part in parts:
        tiles = np.clip(np.rint((part.astype(np.float64) + 1) * 127.5), 0, 255).astype(np.uint8)
        if tiles.shape[1] == 1:
            tiles = np.repeat(tiles, 3, axis=1)
        clips = np.moveaxis(tiles, 2, 1) if tiles.ndim == 5 else _rows_of(tiles, across)
        lines += [_line(clip) for clip in clips]
        lines.append(np.full((3 * _GAP, 1, 3), _PAPER, np.uint8))
    lines.pop()
    width = max(line.shape[1] for line in lines)
    return np.concatenate(
        [np.pad(line, ((0, _GAP), (0, width - line.shape[1]), (0, 0)), constant_values=_PAPER) for line in lines]
    )


def _rows_of(tiles: np.ndarray, count: int) -> list[np.ndarray]:
    return [tiles[start : start + count] for start in range(0, len(tiles), count)]


def _line(tiles: np.ndarray) -> np.ndarray:
    """Tiles `[N, 3, H, W]` side by side, magnified: `[h, w, 3]`."""
    scale = max(1, -(-_TILE // min(tiles.shape[2:])))
    large = tiles.repeat(scale, axis=2).repeat(scale, axis=3).transpose(0, 2, 3, 1)
    return np.concatenate([np.pad(t, ((0, 0), (0, _GAP), (0, 0)), constant_values=_PAPER) for t in large], axis=1)


def png(picture: np.ndarray) -> bytes:
    """`[H, W, 3]` uint8 as the bytes of a PNG file; equal pictures, equal bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def _tensors(row: Row, kind: str, name: str) -> Mapping[str, np.ndarray]:
    """The tensors in the file `name` of the cell's job of that kind, by what they are; empty where it has none."""
    job = row.jobs.get(kind)
    if job is None:
        return {}
    store, (kind, key) = Store(row["source"]), job.split("/")
    record = store.load(kind, key)
    if record is None or name not in record.artifacts:
        return {}
    tensors = read_tensors(store.job_folder(kind, key) / name)
    if row["modality"] == "waveform":
        tensors = {tensor: spectrogram(values) for tensor, values in tensors.items()}
    if row["modality"] in ("spectrogram", "waveform"):  # low frequencies at the bottom
        return {tensor: np.flip(values, axis=2) for tensor, values in tensors.items()}
    return tensors


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors in a safetensors file. Raises UserError for one that is damaged, gone or may not be read."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        path.open("rb").close()  # safetensors says of any file that it can't open that there is none
        return load_file(path)
    except PermissionError:
        raise UserError(f"{path}: you may not read it; its owner's `chmod g+r` lets you") from None
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read: {error}; remove its folder and run the suite again") from None


def spectrogram(sounds: np.ndarray) -> np.ndarray:
    """Sounds `[N, C, T]` in [-1, 1], averaged over channels, as pictures `[N, 1, F, frames]` in [-1, 1]: power in
    decibels, from 80 dB under a full-scale sine at -1 to that sine at 1. Rows run from low to high frequencies.

    Hann windows a quarter apart, as long (a power of two) as makes about as many rows as columns.
    """
    mono = sounds.mean(axis=1, dtype=np.float64)
    length = 2 ** round(math.log2(8 * mono.shape[1]) / 2)
    mono = np.pad(mono, ((0, 0), (0, max(0, length - mono.shape[1]))))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    frames = np.lib.stride_tricks.sliding_window_view(mono, length, axis=1)[:, :: max(1, length // 4)]
    power = np.abs(np.fft.rfft(frames * window)[..., :-1]) ** 2 * (2 / window.sum()) ** 2
    decibels = 10 * np.log10(power + 1e-10)
    return np.clip(1 + decibels / (_RANGE_DB / 2), -1, 1).transpose(0, 2, 1)[:, None].astype(np.float32)


def _file_name(row: Row, taken: Sequence[Path]) -> str:
    base = re.sub(r"[^\w.=+-]+", "_", f"{row['suite']} {row['cell']}").strip("_")[:180]
    names = {path.stem for path in taken}
    return base if base not in names else next(n for i in range(2, len(names) + 3) if (n := f"{base}-{i}") not in names)


def _page(shown: Sequence[tuple[str, str, Path]]) -> str:
    figures = "\n".join(
        f"<h2>{html.escape(printable(title))}</h2>\n<p>{html.escape(what)}</p>\n"
        f'<img src="{html.escape(path.name)}" alt="{html.escape(what)}">'
        for title, what, path in shown
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Gallery</title>\n'
        "<style>:root { color-scheme: light dark } body { font: 14px sans-serif; margin: 2em } "
        "h2 { font-size: 1em; margin-bottom: 0 } "
        f"img {{ max-width: 100% }}</style>\n{figures}\n</html>\n"
    )
