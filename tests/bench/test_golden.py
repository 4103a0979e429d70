"""Golden numbers: when one moves, the version of what moved it has to count up, or stored records would lie.

Nine recipes over all four modalities, and every metric of theirs. When a version has counted up, write them anew:

    LATENTBENCH_UPDATE_GOLDEN=1 python -P -m pytest tests/bench/test_golden.py
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench.runner import run_suite

PATH = Path(__file__).parent / "golden.json"

_DATA = {"samples": 64, "val": 32}
_SOUND = {"sample_rate": 8000, **_DATA}
_SMALL = {"width": 16, "layers": 1, "attention_heads": 2}
_CONV = {"width": 8, "downsample": 4}
SUITE: dict[str, Any] = {
    "name": "golden",
    "data": [
        {"name": "shapes", "modality": "image", "size": 16, **_DATA},
        {"name": "clips", "modality": "video", "size": 16, "frames": 4, **_DATA},
        {"name": "sounds", "modality": "waveform", "seconds": 0.128, **_SOUND},
        {"name": "mels", "modality": "spectrogram", "seconds": 0.256, "n_mels": 16, "n_fft": 256, "hop": 128, **_SOUND},
    ],
    "tokenizers": [
        {"recipe": "pca", "modalities": ["image"], "downsample": 4, "tsr": 12},
        {"recipe": "kl-vae", "modalities": ["image"], "channels": 4, **_CONV},
        {"recipe": "vq-vae", "modalities": ["image"], "codebook_size": 64, **_CONV},
        {"recipe": "fsq", "modalities": ["video"], "width": 8, "downsample": [2, 4, 4], "levels": [5, 4, 3, 3]},
        {"recipe": "lfq", "modalities": ["video"], "width": 8, "downsample": [2, 4, 4]},
        {"recipe": "dct", "modalities": ["waveform"]},
        # The spectral losses of sounds amplify rounding to 3 % within these steps; they have tests of their own.
        {
            "recipe": "multi-head-vq",
            "modalities": ["waveform"],
            "width": 8,
            "downsample": 32,
            "heads": 2,
            "codebook_size": 64,
            "losses": {"stft": 0.0, "mel": 0.0},
        },
        {"recipe": "rvq", "modalities": ["image"], "levels": 2, "codebook_size": 32, **_CONV},
        # Mel spectrograms are logarithms: what rounding does to near-silence flips codes, so this one has none.
        {"recipe": "ae", "modalities": ["spectrogram"], "channels": 4, **_CONV},
    ],
    "features": ["scattering", "encoder"],
    # Few steps: what rounding does to a training grows from 1e-4 after 8 steps to 1e-2 after 30.
    "training": {"steps": 8, "batch_size": 8},
    "encoder": {"width": 8, "training": {"steps": 10, "batch_size": 8}},
    "prior": {"training": {"steps": 10, "batch_size": 8}, "flow": {**_SMALL, "steps": 2}, "ar": _SMALL},
    "generation": {"samples": 32, "reference": "train"},
}
KINDS = ("tokenizer", "reconstruction", "modelability", "prior", "generation")
CLOSED_FORMS = ("pca", "dct")
COUNTED = ("parameters", "flops", "codebook_use", "constant_channels")


def tolerance(kind: str, recipe: str, name: str) -> dict[str, float]:
    """How far a number may be from the golden one: `rel` and `abs` of `pytest.approx`.

    Measured as the spread over ATen's and oneDNN's code paths for AVX-512, AVX2 and SSE4.1, MKL's own and its
    compatible one, 1 and 2 threads. What is counted, and a closed form's codes: none. A closed form's other numbers:
    8e-8; its distances in the features of the (trained) encoder or the scattering: 4e-6; samples of its prior: 5e-5.
    What is trained: 3e-4, and of numbers near zero 2e-7 (a kernel distance) and 4e-5 (a mean correlation). Between two
    makes of CPU what sounds are measured by differs more: the logarithms of spectra 6e-5, SI-SDR 4e-7.
    """
    if name in COUNTED:
        return {"rel": 0.0, "abs": 0.0}
    if recipe == "ae":  # of spectrograms
        return {"rel": 1e-2, "abs": 1e-3}
    if name in ("mel_distance", "stft_distance", "si_sdr"):
        return {"rel": 1e-3, "abs": 0.0}
    if recipe not in CLOSED_FORMS:
        return {"rel": 1e-3, "abs": 2e-4 if name == "channel_correlation" else 1e-6}
    if kind == "generation":
        return {"rel": 2e-4, "abs": 0.0}
    if "encoder" in name or "scattering" in name:
        return {"rel": 2e-5, "abs": 0.0}
    return {"rel": 1e-9 if name.startswith(("code", "rate")) else 3e-7, "abs": 1e-12}


def measured(out: Path) -> dict[str, dict[str, Any]]:
    """Versions and numbers of each cell's jobs, by kind and recipe."""
    jobs: dict[str, dict[str, Any]] = {}
    for cell in json.loads((out / "suites" / "golden.json").read_text())["cells"]:
        for kind in KINDS:
            folder = out / "jobs" / cell["jobs"][kind]
            record, config = (json.loads((folder / name).read_text()) for name in ("record.json", "config.json"))
            numbers = {metric["name"]: metric["value"] for metric in record["metrics"]}
            numbers |= {name: record["extra"][name] for name in ("parameters", "flops") if name in record["extra"]}
            numbers["loss"] = record["extra"].get("losses", {}).get("loss")
            numbers = {name: value for name, value in numbers.items() if value is not None}
            jobs[f"{kind} {cell['recipe']}"] = {"versions": config["versions"], "numbers": numbers}
    return jobs


def differences(golden: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line for every job that differs in its versions, and for every number that moved without them."""
    lines = []
    for job in sorted(golden.keys() | now.keys()):
        if job not in golden or job not in now:
            lines.append(f"{job}: {'gone' if job in golden else 'new'}")
        elif now[job]["versions"] != golden[job]["versions"]:
            lines.append(f"{job}: its versions are now {now[job]['versions']}: write the golden numbers anew")
        else:
            before, after = golden[job]["numbers"], now[job]["numbers"]
            for name in sorted(before.keys() | after.keys()):
                old, new = before.get(name), after.get(name)
                if None in (old, new) or new != pytest.approx(old, **tolerance(*job.split(), name)):
                    lines.append(f"{job}: {name} moved from {old} to {new}, and no version counted up")
    return lines


@pytest.mark.slow
def test_a_number_moves_with_a_version_or_not_at_all(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(cache))
    assert run_suite(SUITE, out=tmp_path / "out", engine="inline", devices="cpu").failed == 0
    now = measured(tmp_path / "out")
    assert len({job.split()[1] for job in now}) == len(SUITE["tokenizers"])
    if os.environ.get("LATENTBENCH_UPDATE_GOLDEN"):
        PATH.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")
    lines = differences(json.loads(PATH.read_text()), now)
    assert not lines, "\n".join(lines)


def test_what_moved_is_named() -> None:
    golden = {
        "tokenizer pca": {"versions": {"a": 1}, "numbers": {"parameters": 3, "loss": 1.0}},
        "tokenizer fsq": {"versions": {"a": 1}, "numbers": {"loss": 1.0}},
    }
    now = {
        "tokenizer pca": {"versions": {"a": 1}, "numbers": {"parameters": 4, "loss": 1 + 1e-9}},
        "tokenizer fsq": {"versions": {"a": 2}, "numbers": {"loss": 2.0}},
    }
    assert differences(golden, golden) == []
    assert differences(golden, now) == [
        "tokenizer fsq: its versions are now {'a': 2}: write the golden numbers anew",
        "tokenizer pca: parameters moved from 3 to 4, and no version counted up",
    ]
