"""A run written by hand with everything that a report shows: four modalities, seeds, a failed cell, hostile names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from latentbench.results.metric import Metric
from latentbench.results.record import Failure, Record
from latentbench.results.store import Store

HOSTILE = '<img src=x onerror="window.hit=1"> &lt;b&gt; </script><script>window.hit=1</script>'
SHAPES = {"image": (3, 16, 16), "video": (3, 4, 8, 8), "waveform": (1, 512), "spectrogram": (1, 16, 24)}
N = 48  # samples with values of their own
KEPT = 4


def measured(name: str, values: np.ndarray, direction: str, role: str, **more: Any) -> Metric:
    return Metric.from_samples(
        name, values.tolist(), direction=direction, role=role, protocol=f"protocol of {name}", **more
    )  # type: ignore[arg-type]


def job(
    store: Store, kind: str, key: str, files: Mapping[str, Mapping[str, np.ndarray]] | None = None, **facts: Any
) -> str:
    """Save a finished job with tensors in files; its id."""
    folder = store.job_folder(kind, key)
    folder.mkdir(parents=True, exist_ok=True)
    for name, tensors in (files or {}).items():
        if name.endswith(".npy"):
            np.save(folder / name, tensors["array"])
        else:
            save_file({n: np.ascontiguousarray(v, np.float32) for n, v in tensors.items()}, folder / name)
    artifacts = {name: (folder / name).stat().st_size for name in files or {}}
    run = {
        "seconds": 2.0,
        "device": "cpu",
        "host": "vm",
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T03:04:07+00:00",
        "versions": {"torch": "2.11.0"},
        **facts.pop("run", {}),
    }
    store.save(Record(kind=kind, key=key, status="finished", artifacts=artifacts, run=run, **facts))
    return f"{kind}/{key}"


def signals(modality: str, count: int, seed: int) -> np.ndarray:
    return np.tanh(np.random.default_rng(seed).standard_normal((count, *SHAPES[modality])))


def cell(
    store: Store,
    modality: str,
    recipe: str,
    seed: int,
    quality: float,
    axes: Mapping[str, Any],
    *,
    label: str = "",
    dataset: str | None = None,
    stored: bool = True,
) -> dict[str, Any]:
    """A finished cell whose numbers, pictures, curves and latents follow from its arguments."""
    name = f"{modality}-{label and 'hostile'}{recipe}-{'-'.join(map(str, axes.values()))}-{seed}"
    draw = np.random.default_rng(sum(map(ord, name)))
    noise = np.random.default_rng(7).standard_normal(N)  # of the samples: shared by all tokenizers
    psnr = measured(
        "psnr", quality + 2 * noise + 0.1 * draw.standard_normal(N), "higher", "distortion", unit="dB", shown="first"
    )
    bits = measured(
        "real_bits", 100 * quality + 5 * draw.standard_normal(N), "lower", "rate", unit="bit", shown="first"
    )
    point = measured("psnr_2", quality - 3 + 2 * noise, "higher", "distortion", unit="dB", shown="asked")
    values = {"psnr": quality + 2 * noise, "psnr_2": quality - 3 + 2 * noise}
    true, sampled = signals(modality, KEPT, 1), signals(modality, KEPT, 2)
    pairs = {"true": true, "reconstructed": np.clip(true * 0.8, -1, 1)}
    if modality == "spectrogram":
        pairs |= {
            "source": signals("waveform", KEPT, 3),
            "rendered": signals("waveform", KEPT, 4),
            "vocoder": signals("waveform", KEPT, 5),
        }
    latent = draw.standard_normal(
        (KEPT, 4, *((8,) if modality == "waveform" else (4, 4) if modality != "video" else (2, 4, 4)))
    )
    gfd = Metric(
        name="gfd_net",
        value=60 - quality + 0.1 * seed,
        interval=(50 - quality, 70 - quality),
        n=N,
        direction="lower",
        role="distribution",
        shown="first",
        protocol="a net",
    )
    viv = Metric(
        name="viv", value=quality / 10 + 0.01 * seed, n=N, direction="lower", role="modelability", protocol="viv"
    )
    curve = [{"step": step, "loss": 1 / step, "lr": 1e-3} for step in range(1, 301)]
    config = {"data": {"modality": modality, "sample_rate": 8000, "fps": 4}}
    dataset = dataset or modality
    jobs = {
        "data": job(store, "data", dataset, config=config, extra={"counts": {"train": 96, "val": N}, "reasons": {}}),
        "tokenizer": job(
            store,
            "tokenizer",
            name,
            extra={"parameters": 1234, "curve": curve, "flops": 1e9},
            config={"tokenizer": {"recipe": recipe}},
            run={"peak_memory_bytes": 2**28},
        ),
        "latents": job(
            store,
            "latents",
            name,
            {
                "val.values.npy": {"array": latent.astype(np.float32)},
                "val.codes.npy": {"array": draw.integers(0, 9, (KEPT, 1, 4, 4)).astype(np.uint8)},
            },
        ),
        "reconstruction": job(
            store,
            "reconstruction",
            name,
            {"values.safetensors": values, **({"pairs.safetensors": pairs} if stored else {})},
            metrics=(psnr, bits, point),
            run={"decode_seconds": {"2": 0.001, "full": 0.002}},
        ),
        "prior": job(store, "prior", name, extra={"curve": curve[:50]}),
        "generation": job(
            store, "generation", name, {"samples.safetensors": {"samples": sampled}} if stored else {}, metrics=(gfd,)
        ),
        "modelability": job(store, "modelability", name, metrics=(viv,)),
    }
    return {
        "cell": name, "dataset": dataset, "modality": modality, "recipe": recipe, "label": label, "axes": dict(axes),
        "seed": seed, "jobs": jobs, "topology": "grid", "discrete": "vq" in recipe, "tsr": 12.0, "tsr_input": 12.0,
        "elements": 64, "positions": 16, "bits_per_sample": 2048.0, "bits_per_element": 2.0, "bitrate": None,
        "prior": "flow", "downsample": axes.get("downsample", 4), "channels": axes.get("channels", 4),
    }  # fmt: skip


def failed(store: Store, dataset: str) -> dict[str, Any]:
    """A cell whose tokenizer failed, with a log."""
    folder = store.job_folder("tokenizer", "broken")
    (folder / "log").mkdir(parents=True)
    (folder / "log" / "attempt-1.log").write_text("started\nTraceback: </pre><script>window.hit=1</script>\n")
    error = Failure(type="DivergedError", message=f"loss is not finite {HOSTILE}", where="training.py:1")
    store.save(Record(kind="tokenizer", key="broken", status="failed", error=error, run={"device": "cpu"}))
    plain = cell(store, dataset, "kl-vae", 9, 1.0, {"downsample": 16, "channels": 1}, stored=False)
    return plain | {
        "cell": "broken",
        "label": HOSTILE,
        "jobs": {"data": plain["jobs"]["data"], "tokenizer": "tokenizer/broken"},
    }


def write_run(root: Path, modalities: Sequence[str] = tuple(SHAPES)) -> Path:
    """The run: per modality a small grid of one recipe with two seeds and another recipe; one failed cell."""
    store, cells = Store(root), []
    for modality in modalities:
        for seed in (0, 1):
            for downsample in (2, 4):
                for channels in (4, 8):
                    axes = {"downsample": downsample, "channels": channels}
                    cells.append(cell(store, modality, "kl-vae", seed, 20 + channels - downsample + 0.1 * seed, axes))
            cells.append(
                cell(store, modality, "vq-vae", seed, 18 + 0.1 * seed, {}, label=HOSTILE if modality == "image" else "")
            )
    cells.append(failed(store, modalities[0]))
    store.write_suite("demo", cells)
    return root


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "out")


def embedded(page: Path) -> Any:
    """The data that a report in a folder embeds."""
    text = (page.parent / "data" / "report.js").read_text()
    return json.loads(text.removeprefix("window.REPORT = ").removesuffix(";\n"))
