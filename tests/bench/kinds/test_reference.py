"""Which feature nets a suite's distances are computed on, and which of them leads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from latentbench.bench.datasets.config import signal_spec
from latentbench.bench.jobs import Job
from latentbench.bench.kinds.reference import serving
from latentbench.bench.plan import make_plan
from latentbench.bench.suite import load_suite
from latentbench.results.errors import UserError
from latentbench.tasks.nets.config import I3DConfig
from latentbench.tokenizers import weights

IMAGES = {"name": "images", "size": 16}
CLIPS = {"name": "clips", "modality": "video", "size": 16, "frames": 4}
SOUNDS = {"name": "sounds", "modality": "waveform", "sample_rate": 8000, "seconds": 0.256}
MELS = SOUNDS | {"name": "mels", "modality": "spectrogram", "n_mels": 16, "n_fft": 256, "hop": 128}
DATA = [IMAGES, CLIPS, SOUNDS, MELS]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which weights are looked for; empty."""
    for variable in ("LATENTBENCH_WEIGHTS", "TORCH_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    return tmp_path


def nets_of(**changes: Any) -> list[list[str]]:
    """By data set, the nets that serve it."""
    suite = load_suite({"name": "s", "data": DATA, "tokenizers": [{"recipe": "pca", "channels": 4}]} | changes)
    return [serving(suite, data) for data in suite.data]


def test_without_weights_the_scattering_serves_all(folder: Path) -> None:
    assert nets_of() == [["scattering"]] * 4
    assert nets_of(features=["pretrained"]) == [[]] * 4


def test_the_field_s_nets_lead_where_their_weights_are(folder: Path) -> None:
    for name in ("inception", "mobilenet_v2", "yamnet", "musicnn"):
        (folder / weights.known[name].filenames[0]).touch()
    assert nets_of() == [["inception", "scattering"], ["scattering"], *[["yamnet", "scattering"]] * 2]
    (folder / weights.known["i3d"].filenames[0]).touch()
    assert nets_of()[1] == ["i3d", "scattering"]
    jobs = make_plan(load_suite({"name": "s", "data": IMAGES, "tokenizers": [{"recipe": "pca"}]}), {}).jobs.values()
    roles = {job.kind: [role for role in job.depends if role.startswith("reference.")] for job in jobs}
    assert roles["generation"] == roles["reconstruction"] == ["reference.inception", "reference.scattering"]


def test_the_suite_s_order_is_the_tables_order(folder: Path) -> None:
    (folder / weights.known["inception"].filenames[0]).touch()
    assert nets_of(features=["scattering", "encoder"]) == [["scattering", "encoder"]] * 4
    assert nets_of(features=["inception", "encoder", "pretrained"])[0] == ["inception", "encoder"]  # once


def test_a_signal_too_small_for_the_scattering_is_refused_with_the_cure(folder: Path) -> None:
    tiny = {"name": "s", "data": {"size": 3}, "tokenizers": [{"recipe": "pca", "downsample": 1, "channels": 3}]}
    with pytest.raises(UserError, match=r"suite: features: .*at least 4 positions .*; 'encoder' serves any signal$"):
        make_plan(load_suite(tiny), {})
    make_plan(load_suite(tiny | {"features": ["encoder"]}), {})


def test_what_judges_is_paid_for(folder: Path) -> None:
    """I3D takes more of a job than a small tokenizer or prior does, in FLOPs and in memory; both are bounded."""

    def planned(**options: Any) -> dict[str, Job]:
        suite = {
            "name": "s",
            "data": CLIPS,
            "tokenizers": [{"recipe": "pca", "downsample": 4, "channels": 4}],
            "tasks": ["reconstruction", "generation", "closed_form", "micro_prior"],
            "reconstruction": {"samples": 100},
            "closed_form": {"priors": ["gaussian", "stationary"], "samples": 50},
            "micro_prior": {"shares": [0.01], "levels": [0.5], "samples": 20, "held_out": 30} | options,
        }
        return {job.kind: job for job in make_plan(load_suite(suite), {}).jobs.values() if job.kind != "reference"}

    before = planned()
    (folder / weights.known["i3d"].filenames[0]).touch()
    data = load_suite({"name": "s", "data": CLIPS, "tokenizers": [{"recipe": "pca"}]}).data[0]
    after, each = planned(), I3DConfig.estimate_flops(signal_spec(data))
    judged = {"reconstruction": 100, "generation": 256, "closed_form": 100, "micro_prior": 50}
    for kind, count in judged.items():
        assert after[kind].flops - before[kind].flops == pytest.approx(count * each)
        assert 4e8 < after[kind].memory - before[kind].memory < 5e8
    assert planned(features=["scattering"])["micro_prior"].flops == before["micro_prior"].flops
