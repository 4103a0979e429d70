"""Vocoders on real sounds: what each makes of the true log-mel of held-out clips.

    python -P tests/coverage/vocoders.py DATA [--seeds 3] [--steps 600] [--sounds fsdd sonic_pi] [--starts 32 0]
                                              [--out FOLDER]

prints, for speech at 8 kHz and for instruments and loops at 16 kHz, the distances of the rendered sounds to the true
ones: by Griffin-Lim, and by the trained vocoder from Griffin-Lim's spectrum and from the log-mel alone, with as many
steps and in as many seeds. DATA holds the folders `audio/fsdd` and `audio/sonic_pi`; YAMNet's distance needs its
weights. With --out, what was computed before stays. Not collected by pytest; tests/tasks/vocoders has small versions.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from latentbench.bench.runner import run_suite
from latentbench.results.store import Store
from latentbench.tokenizers import weights

SOUNDS: Mapping[str, Mapping[str, Any]] = {
    "fsdd": {"sample_rate": 8000, "seconds": 0.512, "pad": True, "n_mels": 40, "n_fft": 256, "hop": 64},
    "sonic_pi": {"sample_rate": 16000, "seconds": 1.024, "pad": True, "n_mels": 64, "n_fft": 1024, "hop": 256},
}
COMMON = {"source": "folder", "modality": "spectrogram", "crop": "tiles", "per_file": 8, "labels": "none", "val": 0.2}
METRICS = ("mel_distance", "stft_distance", "rfd_yamnet", "rkd_yamnet")


def vocoders(seeds: int, steps: int, starts: Sequence[int]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Names, the folders of their runs, and the suite's tables."""
    training = {"steps": steps}
    yield "griffin_lim", "griffin_lim", {"kind": "griffin_lim"}
    for start in starts:
        for seed in range(seeds):
            options = {"kind": "istft", "start_iterations": start, "seed": seed, "training": training}
            yield f"istft, start_iterations = {start}", f"istft-{start}-{steps}-{seed}", options


def measured(data: Mapping[str, Any], vocoder: Mapping[str, Any], out: Path) -> dict[str, float]:
    """What the vocoder makes of the true log-mel, by metric."""
    suite = {
        "name": "vocoders",
        "data": data,
        "tokenizers": [{"recipe": "identity"}],
        "tasks": ["reconstruction"],
        "reconstruction": {"rate": False},
        "features": ["yamnet"] if weights.find("yamnet") else ["scattering"],
        "vocoder": vocoder,
    }
    run_suite(suite, out=out, devices="cpu", jobs_per_device=1)
    (record,) = (record for record in Store(out).iterate() if record.kind == "reconstruction")
    return {metric.name: metric.value for metric in record.metrics if metric.value is not None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--sounds", nargs="+", choices=SOUNDS, default=list(SOUNDS))
    parser.add_argument("--starts", nargs="+", type=int, default=[32, 0])
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    out = options.out or Path(tempfile.mkdtemp())
    for name in options.sounds:
        data = {"path": str(options.data / "audio" / name), "name": name, **COMMON, **SOUNDS[name]}
        rows: dict[str, list[dict[str, float]]] = {}
        for label, folder, vocoder in vocoders(options.seeds, options.steps, options.starts):
            rows.setdefault(label, []).append(measured(data, vocoder, out / f"{name}-{folder}"))
        for label, seeds in rows.items():
            for metric in METRICS:
                values = [row[metric] for row in seeds if metric in row]
                if values:
                    shown = ", ".join(f"{value:.4g}" for value in values)
                    print(f"{name:9} {label:28} {metric:14} {statistics.mean(values):8.4g}  ({shown})", flush=True)


if __name__ == "__main__":
    main()
