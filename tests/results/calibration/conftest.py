"""An output folder of nine cells: three recipes at three sizes, two seeds, with a gFD on two nets and two proxies."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from latentbench.results.metric import Metric
from latentbench.results.record import Record
from latentbench.results.store import Store


def _metrics(quality: float, seed: int) -> dict[str, list[Metric]]:
    gfd = 2.0**quality * (1.02 if seed else 1.0)
    of_sets: dict[str, Any] = {"direction": "lower", "n": 64, "role": "distribution", "protocol": "64 against 64"}
    return {
        "reconstruction": [
            Metric(name="psnr", value=30 - 7 * quality % 3, direction="higher", n=64, role="distortion")
        ],
        "modelability": [
            Metric(
                name="viv", value=quality + 0.1 * seed, direction="lower", n=64, role="modelability", protocol="of z"
            ),
            Metric(name="local_correlation", value=0.5, direction="higher", n=64, role="modelability"),
        ],
        "generation": [
            Metric(name="gfd_scattering", value=gfd, shown="first", **of_sets),
            Metric(name="gfd_encoder", value=10 - gfd, **of_sets),
        ],
    }


@pytest.fixture
def runs(_runs_of_all: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(_runs_of_all, tmp_path / "out", copy_function=shutil.copyfile)


@pytest.fixture(scope="session")
def _runs_of_all(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = Store(tmp_path_factory.mktemp("runs") / "out")
    cells = []
    for place, recipe in enumerate(("kl-vae", "vq-vae", "pca")):
        for size, channels in enumerate((2, 4, 8)):
            for seed in range(2):
                key = f"{recipe}-{channels}-{seed}"
                jobs = {"tokenizer": f"tokenizer/{key}"}
                store.save(Record(kind="tokenizer", key=key, status="finished", extra={"parameters": 1000 * channels}))
                for kind, metrics in _metrics(place + size / 4, seed).items():
                    extra = {"measured_by": {"viv": "viv"}} if kind == "modelability" else {}
                    run = {"proxy_seconds": {"viv": 0.5 + seed}} if kind == "modelability" else {}
                    record = Record(kind=kind, key=key, status="finished", metrics=tuple(metrics), extra=extra, run=run)
                    store.save(record)
                    jobs[kind] = f"{kind}/{key}"
                cells.append(
                    {
                        "cell": key,
                        "dataset": "shapes",
                        "modality": "image",
                        "recipe": recipe,
                        "label": recipe,
                        "axes": {"channels": channels},
                        "seed": seed,
                        "jobs": jobs,
                        "topology": "grid",
                        "discrete": False,
                        "tsr": 48.0 / channels,
                        "tsr_input": 48.0 / channels,
                        "elements": 64 * channels,
                        "positions": 64,
                        "bits_per_sample": 2048.0 * channels,
                        "bits_per_element": None,
                        "bitrate": None,
                    }
                )
    store.write_suite("demo", cells)
    return store.root
