"""An output folder written by hand: three recipes, three seeds, one failed and one missing cell, two modalities."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latentbench.results.metric import Metric
from latentbench.results.record import Failure, Record
from latentbench.results.store import Store

PSNR = "mean of per-image PSNR, uint8 rounding"


ROLES = {
    "psnr": {"role": "distortion", "shown": "first"},
    "si_sdr": {"role": "distortion", "shown": "first"},
    "rfd_encoder": {"role": "distribution"},
    "real_bits_per_pixel": {"role": "rate", "shown": "first"},
}


def metric(name: str, value: float | None, direction: str = "higher", **fields: Any) -> Metric:
    fields = {"n": 64, **ROLES.get(name, {}), **fields}
    return Metric(name=name, value=value, direction=direction, **fields)  # type: ignore[arg-type]


def add_cell(
    store: Store,
    name: str,
    *,
    metrics: list[Metric],
    recipe: str = "kl-vae",
    label: str = "",
    axes: dict[str, Any] | None = None,
    seed: int = 0,
    dataset: str = "photos",
    modality: str = "image",
    failed: bool = False,
    missing: bool = False,
    **spec: Any,
) -> dict[str, Any]:
    """Save the records of one cell and return it as it stands in the suite's file."""
    key = f"{name}-{seed}"
    run = {"seconds": 2.5, "peak_memory_bytes": 3 * 2**20}
    store.save(Record(kind="data", key=dataset, status="finished", run={"seconds": 100.0}))
    facts = {"parameters": 1234567, "flops": 1e9}
    depends = (f"data/{dataset}",)
    store.save(Record(kind="tokenizer", key=key, status="finished", depends=depends, extra=facts, run=run))
    jobs = {"data": f"data/{dataset}", "tokenizer": f"tokenizer/{key}", "reconstruction": f"reconstruction/{key}"}
    if failed:
        error = Failure(type="OutOfMemoryError", message="no memory\nleft", where="reconstruction.py:12")
        store.save(Record(kind="reconstruction", key=key, status="failed", error=error, run=run))
    elif not missing:
        store.save(Record(kind="reconstruction", key=key, status="finished", metrics=tuple(metrics), run=run))
    return {
        "cell": key,
        "dataset": dataset,
        "modality": modality,
        "recipe": recipe,
        "label": label,
        "axes": axes or {},
        "seed": seed,
        "jobs": jobs,
        "topology": "grid",
        "discrete": spec.pop("discrete", False),
        "tsr": 12.0,
        "tsr_input": 12.0,
        "elements": 1024,
        "positions": 256,
        "bits_per_sample": 32768.0,
        **spec,
        "bits_per_element": spec.get("bits_per_sample", 32768.0) / 12288,
        "bitrate": spec.get("bitrate"),
    }


def image_metrics(psnr: float, rfd: float, rate: float, estimate: str = "entropy of values; val split") -> list[Metric]:
    around = (0.9 * rate, 1.1 * rate)
    return [
        metric("real_bits_per_pixel", rate, "lower", unit="bit", interval=around, protocol=estimate),
        metric("psnr", psnr, unit="dB", se=0.1, interval=(psnr - 0.2, psnr + 0.2), protocol=PSNR),
        metric("rfd_encoder", rfd, "lower", protocol="encoder net, 64 against 64"),
    ]


@pytest.fixture
def folder(_folder_of_all: Path, tmp_path: Path) -> Path:
    """Two image recipes with three seeds each (`downsample` 4), a vq-vae of one finished, one failed and one missing
    cell, and two waveform cells of a single seed; a copy that a test may change."""
    return shutil.copytree(_folder_of_all, tmp_path / "out", copy_function=shutil.copyfile)


@pytest.fixture(scope="session")
def _folder_of_all(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = Store(tmp_path_factory.mktemp("results") / "out")
    cells = []
    for seed, (low, high) in enumerate([(20.0, 25.0), (20.2, 25.3), (20.4, 25.3)]):
        axes = {"downsample": 4}
        cells.append(add_cell(store, "small", metrics=image_metrics(low, 9.0 - seed, 0.5), axes=axes, seed=seed))
        large = {"tsr": 6.0, "elements": 2048, "bits_per_sample": 65536.0}
        axes = {"downsample": 4, "bottleneck.beta": 1e-06}
        metrics = image_metrics(high, 5.0 + seed, 1.0)
        cells.append(add_cell(store, "large", metrics=metrics, label="wide", axes=axes, seed=seed, **large))
        cells.append(
            add_cell(
                store,
                "vq",
                metrics=image_metrics(19.0, 30.0, 0.125, "actual bytes of the stream; val split"),
                recipe="vq-vae",
                axes={"downsample": 4},
                seed=seed,
                failed=seed == 1,
                missing=seed == 2,
                bits_per_sample=2048.0,
                discrete=True,
            )
        )
    for name, value in (("a", 8.0), ("b", 9.5)):
        sound = [metric("si_sdr", value, unit="dB", se=0.5, interval=(value - 1, value + 1), missing=2)]
        fields = {"dataset": "sounds", "modality": "waveform", "bitrate": 1600.0, "tsr": 4.0 if name == "a" else 2.0}
        cells.append(add_cell(store, f"sound-{name}", metrics=sound, recipe="ae", axes={"channels": name}, **fields))
    store.write_suite("demo", cells)
    return store.root


@pytest.fixture
def add() -> Callable[..., dict[str, Any]]:
    return add_cell
