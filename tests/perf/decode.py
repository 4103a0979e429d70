"""Decoding of video and sound files against a bare PyAV loop over the same files.

    python tests/perf/decode.py FILE... [--rounds 3] [--size 0]

A bare loop opens a file, decodes every frame and takes it as an RGB array (sounds: as an int16 array at the data set's
rate, through PyAV's resampler), and does nothing else. Ours reads timestamps, looks for damage, lays the file out in
clips and cuts them, all of them (`crop = "tiles"`), at the file's own rate; with `--size` frames are also scaled to so
many pixels, by the bare loop through libswscale and by ours antialiased. One thread for both. Medians of interleaved
rounds, by the process's own seconds, and the ratio of all files together.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import torch

from latentbench.bench.datasets.audio import decode_audio_file
from latentbench.bench.datasets.config import DataConfig
from latentbench.bench.datasets.media import EXTENSIONS
from latentbench.bench.datasets.videos import decode_video_file
from latentbench.tokenizers.spec import Modality

sys.path.append(str(Path(__file__).parent))  # with -P a script's folder is not on the path
from timing import interleaved

RATE, FRAMES = 16000, 8


def bare_video(path: Path, size: int) -> int:
    """The frames of a file."""
    count = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            if size:
                frame = frame.reformat(width=size, height=size, format="rgb24", interpolation="BICUBIC")
            count += len(frame.to_ndarray(format="rgb24")) > 0
    return count


def our_video(path: Path, size: int, fps: float, short: int) -> int:
    config = DataConfig(
        source="folder", path="x", modality=Modality.VIDEO, size=size or short, frames=FRAMES, fps=fps, crop="tiles",
        per_file=10**6, resize="short" if size else "none",
    )  # fmt: skip
    return sum(FRAMES for _ in decode_video_file(path, config, np.random.default_rng(0)))


def bare_sound(path: Path) -> int:
    """The samples of a file."""
    count = 0
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            count += sum(part.to_ndarray().size for part in resampler.resample(frame))
        count += sum(part.to_ndarray().size for part in resampler.resample(None))
    return count


def our_sound(path: Path) -> int:
    config = DataConfig(
        source="folder", path="x", modality=Modality.WAVEFORM, sample_rate=RATE, seconds=0.064, crop="tiles",
        per_file=10**6,
    )  # fmt: skip
    return sum(block.shape[-1] for block in decode_audio_file(path, config, np.random.default_rng(0)))


def pair(path: Path, size: int) -> tuple[Callable[[], int], Callable[[], int], str]:
    """The bare loop and ours, and what they count."""
    if path.suffix.lower() in EXTENSIONS[Modality.WAVEFORM]:
        return lambda: bare_sound(path), lambda: our_sound(path), "samples"
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        fps = float(stream.average_rate or stream.guessed_rate)
        short = min(stream.width, stream.height)
    return lambda: bare_video(path, size), lambda: our_video(path, size, fps, short), "frames"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=0, help="pixels that frames are scaled to; 0: not at all")
    args = parser.parse_args()
    torch.set_num_threads(1)
    spent = {"bare": 0.0, "ours": 0.0}
    for path in args.files:
        bare, ours, what = pair(path, args.size)
        medians, counts = interleaved({"bare": bare, "ours": ours}, args.rounds, cpu_seconds=True)
        for name, seconds in medians.items():
            spent[name] += seconds
        rates = {name: counts[name] / seconds for name, seconds in medians.items()}
        print(
            f"{path.name:<44} {counts['bare']:>8} {what:<8}{rates['bare']:12.0f} a second bare"
            f" {rates['ours']:12.0f} ours {rates['ours'] / rates['bare']:6.2f}"
        )
    print(f"all files: {spent['bare']:.2f} s bare, {spent['ours']:.2f} s ours: {spent['bare'] / spent['ours']:.2f}")


if __name__ == "__main__":
    main()
